//! Timings, and memory of the process, the machine and the GPUs.

#[cfg(feature = "wasmtime")]
use wasmtime::component::{ComponentType, Lift, Lower};

/// Statistics of one operation, in seconds.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Timing {
    /// The operation.
    pub name: String,
    /// How often it ran.
    pub count: u64,
    /// The sum of all durations.
    pub total: f64,
    /// The mean.
    pub mean: f64,
    /// The shortest.
    pub min: f64,
    /// The longest.
    pub max: f64,
    /// The sample standard deviation (n − 1); 0 for one sample.
    pub std: f64,
    /// The median, by the nearest rank. Exact up to 1,000 durations, or up to 125 if there are more than 1,024
    /// operations; beyond that with a relative error of at most 0.8 %. NaN if the durations lie in more powers of two
    /// than there is memory for: 524,288 for all operations together, in equal shares.
    pub p50: f64,
    /// The 95th percentile, likewise.
    pub p95: f64,
    /// The 99th percentile, likewise.
    pub p99: f64,
    /// Whether the percentiles are exact.
    #[cfg_attr(feature = "wasmtime", component(name = "percentiles-exact"))]
    pub percentiles_exact: bool,
}

/// A block that ended.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Finished {
    /// Its duration in seconds.
    pub seconds: f64,
    /// `<name> completed in 0.0500s`, for a log.
    pub message: String,
}

/// Memory of the process and of the machine, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct SystemMemory {
    /// Physical memory of this process or, if the host runs a command, of that command and its descendants.
    #[cfg_attr(feature = "wasmtime", component(name = "process-resident"))]
    pub process_resident: u64,
    /// Address space of the same processes.
    #[cfg_attr(feature = "wasmtime", component(name = "process-virtual"))]
    pub process_virtual: u64,
    /// The machine's physical memory.
    #[cfg_attr(feature = "wasmtime", component(name = "machine-total"))]
    pub machine_total: u64,
    /// Memory in use on the machine.
    #[cfg_attr(feature = "wasmtime", component(name = "machine-used"))]
    pub machine_used: u64,
    /// Memory that a new process could still get.
    #[cfg_attr(feature = "wasmtime", component(name = "machine-available"))]
    pub machine_available: u64,
}

/// Memory of a GPU, or of one MIG instance of a GPU. All sizes are in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct GpuDevice {
    /// The driver's index of the device, or of the instance's device.
    pub index: u32,
    /// The MIG instance on that device, if MIG is enabled.
    #[cfg_attr(feature = "wasmtime", component(name = "mig-instance"))]
    pub mig_instance: Option<u32>,
    /// The driver's identifier, which is the same after a restart.
    pub uuid: String,
    /// The product name.
    pub name: String,
    /// All memory.
    pub total: u64,
    /// In use by any process.
    pub used: u64,
    /// Free for allocation.
    pub free: u64,
    /// Reserved by the driver and the firmware.
    pub reserved: u64,
    /// In use by this process and its descendants, if the driver reports it.
    pub process: Option<u64>,
}

/// The GPUs, as their driver reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct GpuInventory {
    /// The devices that answered.
    pub devices: Vec<GpuDevice>,
    /// One sentence for each device that did not answer.
    pub lost: Vec<String>,
}

/// A sample of memory.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct MemorySample {
    /// Memory of the process and the machine, or why it is unavailable.
    pub cpu: Result<SystemMemory, String>,
    /// Memory of the GPUs, or why it is unavailable.
    pub gpu: Result<GpuInventory, String>,
    /// The sample in sentences, one for the process and one for each GPU, for a log.
    pub messages: Vec<String>,
}

/// The largest memory figures of a run, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Peaks {
    /// How many memory samples performance.jsonl has.
    pub samples: u64,
    /// The process's physical memory; 0 without samples.
    #[cfg_attr(feature = "wasmtime", component(name = "process-resident"))]
    pub process_resident: u64,
    /// In use on the machine.
    #[cfg_attr(feature = "wasmtime", component(name = "machine-used"))]
    pub machine_used: u64,
    /// Each GPU, in order of first appearance.
    pub gpus: Vec<GpuPeak>,
}

/// The largest figures of one GPU, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct GpuPeak {
    /// The product name.
    pub name: String,
    /// The driver's identifier.
    pub uuid: String,
    /// In use by any process.
    pub used: u64,
    /// In use by the run's process, if known.
    pub process: Option<u64>,
}
