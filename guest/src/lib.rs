//! The logic of model-foundry's loggers: formatting, statistics, configuration, error aggregation, and
//! the reading of what trainers print.
//!
//! The modules know nothing about WebAssembly: everything that they need from outside is the trait
//! [`imports::Imports`]. The crate in `component/` exports them through the component model. The same code also
//! links natively, where it writes the same bytes, and is the baseline that the sandbox is measured against.

#![deny(missing_docs)]

pub mod config;
pub mod console;
pub mod errors;
pub mod imports;
pub mod json;
pub mod line_buffer;
pub mod lines;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod metrics;
pub mod names;
pub mod percentiles;
pub mod performance;
pub mod records;
pub mod rotation;
pub mod sinks;
pub mod statistics;
pub mod structured;
mod summary;
#[cfg(test)]
mod tests;
pub mod timestamp;
pub mod transcript;
pub mod value;
pub mod verification;
pub mod wandb;

pub use model_foundry_types::{Error, Field, Level, Result, Value};
