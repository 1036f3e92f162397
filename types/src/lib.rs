//! The types that the logic of model-foundry and its host share, each defined once.
//!
//! The world in `wit/` describes the same types to hosts in other languages. On both sides of the component's
//! border the generated bindings are mapped onto these, so that nothing is converted: with the feature
//! `wasmtime` a host passes them to and from a component; the component itself needs no feature.
//!
//! Nothing is decided here. The only functions are those that both sides have to agree on: [`packed`], how a
//! record crosses the border, [`part_name`], how a run file's parts are named, [`document`], how a configuration
//! is read, and [`large_integers`], how JSON text keeps their digits.

#![deny(missing_docs)]

mod config;
mod console;
pub mod document;
mod error;
mod errors;
pub mod large_integers;
mod level;
mod metrics;
pub mod packed;
mod performance;
mod records;
mod run_files;
mod text;
mod timestamp;
mod value;
mod verification;

pub use config::{Durability, FieldMut, LoggingConfig, LoggingField, Violation};
pub use console::{Event, LineReading, MetricsLine, Output, Traceback};
pub use error::{Error, Result};
pub use errors::{ErrorEntry, ErrorReport, TypeCount};
pub use level::{Level, UnknownLevel};
pub use metrics::{
    Column, Damage, DamagedLine, Kind, NamedStatistics, Omitted, Options, Purpose, Query, Row,
    RunInfo, Series, Statistics, StepOrigin,
};
pub use performance::{
    Finished, GpuDevice, GpuInventory, GpuPeak, MemorySample, Peaks, SystemMemory, Timing,
};
pub use records::{
    ErrorRecord, GivenRecord, MessageRecord, ParsedRecord, StepRecord, SummaryRecord,
};
pub use run_files::{Part, StorageError, part_name, part_of_name};
pub use text::{escaped, is_terminal_control};
pub use timestamp::rfc3339;
pub use value::{Field, Value, ValueRef};
pub use verification::{Finding, Position, VerificationReport};
