//! The logic of model-foundry's loggers: formatting, statistics, configuration, error aggregation, and
//! the reading of what trainers print.
//!
//! The modules know nothing of WebAssembly: what they need from outside is the trait
//! [`imports::Imports`]. `component` alone (under the feature of that name) exports them through the
//! component model. The same code therefore also links natively, writes the same bytes there, and is the
//! baseline that the sandbox is measured against.

#![deny(missing_docs)]

pub mod config;
pub mod console;
pub mod error;
pub mod errors;
pub mod imports;
pub mod json;
pub mod level;
pub mod line_buffer;
pub mod lines;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod metrics;
pub mod names;
pub mod packed;
pub mod performance;
pub mod rotation;
pub mod statistics;
pub mod structured;
#[cfg(test)]
mod tests;
pub mod timestamp;
pub mod transcript;
pub mod value;
pub mod verification;
pub mod wandb;

#[cfg(feature = "component")]
mod component;

pub use error::{Error, Result};
pub use level::Level;
pub use value::{Field, Value};
