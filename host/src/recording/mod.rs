//! What happens between a logger's call and the component: buffering, recovery after a trap, the error policy.

pub(crate) mod attempt;
pub(crate) mod column_sets;
pub(crate) mod copies;
pub(crate) mod core;
pub(crate) mod error_policy;
pub(crate) mod guest_loggers;
pub(crate) mod queue;
