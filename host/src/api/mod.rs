//! The public interface: runs, their loggers, and readers.

pub(crate) mod command_output;
pub(crate) mod config;
pub(crate) mod errors;
pub(crate) mod metrics;
pub(crate) mod performance;
pub(crate) mod reader;
pub(crate) mod record_parser;
pub(crate) mod run;
pub(crate) mod standalone;
pub(crate) mod structured;
pub(crate) mod verification;
