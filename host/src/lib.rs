//! Training-run logging whose logic is one sandboxed WebAssembly component.
//!
//! A [`Run`] is the front door. It opens a run folder, begins an attempt at the experiment (or joins the
//! one that is under way), and hands out five loggers, each of which is cheap to clone and may be used from
//! any thread:
//!
//! | | writes | |
//! |---|---|---|
//! | [`StructuredLogger`] | main.log | records with a level, a message and fields |
//! | [`MetricsLogger`] | metrics.jsonl | a step's metrics, an epoch's summary, streaming statistics |
//! | [`PerformanceLogger`] | performance.jsonl | timings of named blocks, memory of processes and GPUs |
//! | [`ErrorTracker`] | errors.jsonl | errors with their chain of sources, counted by type |
//! | [`LoggingConfig`] | | levels, rotation, intervals, durability |
//!
//! [`RunReader`] reads a folder back, while it is written or later; [`OutputParser`] understands what other
//! programs print.
//!
//! # Training does not die of logging
//!
//! By default no call fails because of the disk: a record that cannot be kept is counted, said once on
//! standard error, and tried again with the next one. [`OnError::Return`] makes calls return such errors.
//! [`Error::Invalid`], the caller's own mistake, is always returned. A fault of the component costs
//! microseconds: it is started anew, and reads its state back from the files.
//!
//! # When a record is safe
//!
//! Under [`Durability::Immediate`], the default, a record is in the kernel's hands when the call returns:
//! `kill -9` does not lose it. Under [`Durability::Synced`] it is on the disk, which a power cut does not
//! undo. Under [`Durability::Buffered`] the call puts it into a bounded queue and returns at once; at most
//! `flush_interval_ms` are at stake. ERROR and CRITICAL records, and errors, are on the disk when the call
//! returns, always.
//!
//! # The sandbox
//!
//! Formatting, statistics, configuration and the reading of files are the work of a WebAssembly component
//! that is compiled into this library. It can append whole lines to a closed set of files in the run
//! folder, read them, read two clocks and memory figures: nothing else, as `model-foundry component
//! inspect` shows. The loggers of one run share one instance behind a lock.
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
//! // Columns that are named once make the fastest rows.
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
//! })?;
//! assert_eq!(entries.len(), 10);
//! assert_eq!(entries[0]["metrics"]["loss"], 0.2);
//! # std::fs::remove_dir_all(runs).ok();
//! # Ok::<(), model_foundry::Error>(())
//! ```

#![deny(missing_docs)]

mod attempt;
mod bindings;
mod cache;
mod config;
mod convert;
mod detached;
mod error;
mod errors;
mod fields;
mod imports;
mod locks;
mod manifest;
mod metrics;
mod performance;
mod queue;
mod rank;
mod reader;
mod recorder;
mod run;
mod runtime;
mod sampler;
mod sandbox;
mod shapes;
mod structured;
mod sync;
mod termination;
mod verification;
mod watch;

pub use config::{ConfigReader, Durability, ExperimentConfig, Format, LoggingConfig};
pub use detached::Detached;
pub use error::{Error, Result, Violation};
pub use errors::{ErrorEntry, ErrorReport, ErrorTracker, TypeCount};
pub use imports::clocks::{Clock, ManualClock};
pub use imports::files::{Disk, StorageTally};
#[doc(hidden)]
pub use imports::native::NativeImports;
pub use manifest::{Attempt, FORMAT_VERSION, Host, MANIFEST, Manifest, Status};
pub use metrics::{Column, Columns, Epoch, Kind, MetricsLogger, NamedStatistics, Statistics};
pub use model_foundry_guest::imports::{GpuDevice, GpuInventory, SystemMemory};
pub use model_foundry_guest::{Field, Level, Value};
pub use performance::{
    Finished, GpuPeak, MemorySample, Peaks, PerformanceLogger, TimedBlock, Timing,
};
pub use reader::{Damage, Query, RunReader, Series};
pub use run::{Console, Heritage, OnError, RUN_DIR_VARIABLE, Run, RunBuilder};
pub use runtime::{COMPONENT, Runtime, RuntimeOptions};
pub use structured::StructuredLogger;
#[doc(hidden)]
pub use termination::{listen_after_fork, not_ignored};
pub use verification::{FileReport, Finding};
pub use watch::{Event, Output, OutputParser};

/// What the NVIDIA driver says now of every GPU's memory, or why it cannot be told. `library` is the NVML
/// library to load instead of the system's.
///
/// # Errors
///
/// One sentence: there is no driver, it cannot be used, or it shows no device.
pub fn gpu_inventory(library: Option<std::path::PathBuf>) -> Result<GpuInventory, String> {
    imports::gpu::Gpu::new(library).devices(&[])
}
