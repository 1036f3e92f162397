//! The process that this library is part of: locks that survive fork(2), and signals.

pub(crate) mod mutex;
pub(crate) mod termination;
