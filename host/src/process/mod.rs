//! The process that this library is part of: its job, locks that survive fork(2), and signals.

pub(crate) mod job;
pub(crate) mod mutex;
pub(crate) mod origin;
pub(crate) mod secrets;
pub(crate) mod termination;
