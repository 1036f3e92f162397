//! Training-run logging whose logic is one sandboxed WebAssembly component.
//!
//! A [`Run`] is the front door. It opens a run folder, begins an attempt at the experiment (or joins the current one),
//! and gives access to the loggers. A logger is cheap to clone and may be used from any thread:
//!
//! | | writes | |
//! |---|---|---|
//! | [`StructuredLogger`] | main.log | records with a level, a message and fields |
//! | [`MetricsLogger`] | metrics.jsonl | a step's metrics, an epoch's summary, streaming statistics |
//! | [`PerformanceLogger`] | performance.jsonl | timings of named blocks, memory of processes and GPUs |
//! | [`ErrorTracker`] | errors.jsonl | errors with their chain of sources, counted by type |
//! | [`LoggingConfig`] | | levels, rotation, intervals, durability |
//!
//! [`RunReader`] reads a folder back, while it is written or later; [`RunFolder`] reads only its manifest.
//! [`OutputParser`] finds metrics in what other programs print.
//!
//! # Logging never stops training
//!
//! By default no call fails because of the disk: a record that cannot be written is counted, reported once on standard
//! error, and retried with the next record. [`OnError::Return`] makes calls return these errors. [`Error::Invalid`], the
//! caller's own mistake, is always returned. A failure of the component costs microseconds: a new instance replaces it
//! and reads its state back from the files.
//!
//! # When a record is safe
//!
//! Under [`Durability::Immediate`], the default, the kernel has a record when the call returns: `kill -9` does not lose
//! it. Under [`Durability::Synced`] it is on the disk, and a power loss does not lose it. Under
//! [`Durability::Buffered`] the call puts it into a bounded queue and returns at once; a crash loses at most the last
//! `flush_interval_ms`. ERROR and CRITICAL records, and errors, are always on the disk when the call returns.
//!
//! # The sandbox
//!
//! A WebAssembly component, which is built into this library, formats records, computes statistics, checks configurations
//! and reads files. It can append whole lines to a closed set of files in the run folder, read these files, and read two
//! clocks and memory figures: nothing else, as `model-foundry component inspect` shows. The loggers of one run share one
//! instance behind a lock.
//!
//! # Example
//!
//! A trainer, complete but for the training:
//!
//! ```
//! use model_foundry::{Durability, LoggingConfig, Run, Status, fields};
//!
//! # let runs = std::env::temp_dir().join(format!("model-foundry-example-{}", std::process::id()));
//! let config = LoggingConfig { durability: Durability::Buffered, ..LoggingConfig::default() };
//! let run = Run::builder("tiny-lm").runs_dir(&runs).config(config).open()?;
//!
//! let logger = run.logger("train");
//! let metrics = run.metrics();
//! let performance = run.performance();
//! // Rows are fastest if their columns are named once.
//! let columns = metrics.columns(&["loss", "grad_norm"])?;
//! logger.info("training begins", &fields! { steps: 100, "optimizer/name": "adam" })?;
//!
//! for step in 1..=100_u64 {
//!     let loss = {
//!         let _timed = performance.time_block("forward");
//!         2.0 / step as f64
//!     };
//!     columns.log(step, 0.0, &[loss, 0.5])?;
//!     if step % u64::from(run.config().log_memory_every_n_steps) == 0 {
//!         performance.log_memory_usage(Some(step))?;
//!     }
//!     if let Err(error) = "not a number".parse::<f64>() {
//!         if step == 50 {
//!             run.errors().log_error(&error, &fields! { step })?;
//!         }
//!     }
//! }
//! metrics.log_epoch_summary(0.0, &fields! { val_loss: 0.021 })?;
//!
//! let loss = metrics.statistics("loss")?;
//! assert_eq!(loss.count, 100);
//! assert_eq!(loss.min, 0.02);
//! assert_eq!(run.errors().summary()?[0].count, 1);
//! run.finish(Status::Completed, None);
//!
//! // Later, or from another process:
//! let mut reader = model_foundry::RunReader::open(runs.join("tiny-lm"))?;
//! let entries = reader.entries(model_foundry::Query {
//!     first_step: Some(10),
//!     last_step: Some(19),
//!     summaries: false,
//!     all_attempts: false,
//!     attempt: None,
//! })?;
//! assert_eq!(entries.len(), 10);
//! assert_eq!(entries[0]["metrics"]["loss"], 0.2);
//! # std::fs::remove_dir_all(runs).ok();
//! # Ok::<(), model_foundry::Error>(())
//! ```

#![deny(missing_docs)]

mod api;
mod engine;
mod error;
mod fields;
mod folder;
mod process;
mod recording;
mod services;

pub use api::command_output::OutputParser;
pub use api::config::{ConfigReader, ExperimentConfig, Format, UnknownFormat};
pub use api::errors::ErrorTracker;
pub use api::metrics::{Columns, Epoch, MetricsLogger};
pub use api::performance::{PerformanceLogger, TimedBlock};
pub use api::reader::{ReadReport, RunReader};
pub use api::record_parser::RecordParser;
pub use api::run::{ForkState, RUN_DIR_VARIABLE, Resume, Run, RunBuilder, SUPERVISED_VARIABLE};
pub use api::standalone::Standalone;
pub use api::structured::StructuredLogger;
pub use api::verification::FileReport;
pub use engine::cache::on_compilation;
pub use engine::runtime::{COMPONENT, Runtime, RuntimeOptions};
pub use error::{Error, Result};
pub use folder::RunFolder;
pub use folder::manifest::{Attempt, FORMAT_VERSION, Host, MANIFEST, Manifest, Origin, Status};
#[doc(hidden)]
pub use folder::run_files::{Content, FileId, RUN_FILES, RunFile, Verified};
#[doc(hidden)]
pub use model_foundry_types::large_integers;
pub use model_foundry_types::{
    Column, Damage, DamagedLine, Durability, ErrorEntry, ErrorRecord, ErrorReport, Event, Field,
    Finding, Finished, GivenRecord, GpuDevice, GpuInventory, GpuPeak, Kind, Level, LineReading,
    LoggingConfig, MemorySample, MessageRecord, MetricsLine, NamedStatistics, Omitted, Output,
    ParsedRecord, Part, Peaks, Query, Row, Series, Statistics, StepOrigin, StepRecord,
    StorageError, SummaryRecord, SystemMemory, Timing, Traceback, TypeCount, UnknownLevel, Value,
    Violation, rfc3339,
};
#[doc(hidden)]
pub use model_foundry_types::{escaped, is_terminal_control};
#[doc(hidden)]
pub use process::origin::quoted;
#[doc(hidden)]
pub use process::secrets::{MASK, is_secret_name, masked, masked_command};
#[doc(hidden)]
pub use process::termination::{listen_after_fork, not_ignored, signal_name};
pub use recording::error_policy::{Console, OnError};
pub use services::clocks::{Clock, ManualClock};
#[doc(hidden)]
pub use services::direct::DirectServices;
pub use services::files::{Disk, StorageTally};

/// Every GPU's memory as the NVIDIA driver reports it now, or why it is unavailable. `library` is the NVML library to
/// load instead of the system's.
///
/// # Errors
///
/// One sentence: there is no driver, it cannot be used, or it reports no device.
pub fn gpu_inventory(library: Option<std::path::PathBuf>) -> Result<GpuInventory, String> {
    let patience = std::time::Duration::from_secs(30);
    services::gpu_thread::GpuThread::new(library).devices(&[], patience)
}
