//! Training-run logging whose logic is one sandboxed WebAssembly component.

#![deny(missing_docs)]

mod attempt;
mod bindings;
mod config;
mod convert;
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
mod sandbox;
mod structured;
mod termination;
mod verification;
mod watch;

pub use config::{ConfigReader, Durability, ExperimentConfig, Format, LoggingConfig};
pub use error::{Error, Result, Violation};
pub use errors::{ErrorEntry, ErrorReport, ErrorTracker, TypeCount};
pub use imports::clocks::{Clock, ManualClock};
pub use imports::files::{Disk, StorageTally};
#[doc(hidden)]
pub use imports::native::NativeImports;
pub use manifest::{Attempt, Host, MANIFEST, Manifest, Status};
pub use metrics::{Column, Columns, Kind, MetricsLogger, NamedStatistics, Statistics};
pub use model_foundry_guest::imports::{GpuDevice, GpuInventory, SystemMemory};
pub use model_foundry_guest::{Field, Level, Value};
pub use performance::{
    Finished, GpuPeak, MemorySample, Peaks, PerformanceLogger, TimedBlock, Timing,
};
pub use reader::{Damage, Query, RunReader, Series};
pub use run::{Console, OnError, RUN_DIR_VARIABLE, Run, RunBuilder};
pub use runtime::{COMPONENT, Runtime, RuntimeOptions};
pub use structured::StructuredLogger;
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
