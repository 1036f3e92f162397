//! Everything that the logic can ask its host for, as one trait. The component implements it over its imports,
//! a host directly where the logic is linked natively.

pub use model_foundry_types::{GpuDevice, GpuInventory, Part, StorageError, SystemMemory};

/// A run file, by the name under which the host grants it. The host's table says what may be done with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunFile(pub &'static str);

impl RunFile {
    /// The structured log.
    pub const MAIN_LOG: Self = Self("main.log");
    /// Metrics of steps and summaries of epochs.
    pub const METRICS: Self = Self("metrics.jsonl");
    /// Errors.
    pub const ERRORS: Self = Self("errors.jsonl");
    /// Timings and memory samples.
    pub const PERFORMANCE: Self = Self("performance.jsonl");
    /// The output of the command that the host runs.
    pub const CONSOLE: Self = Self("console.log");
    /// Statistics of every operation.
    pub const TIMING_REPORT: Self = Self("timing_report.json");
    /// The index of metrics.jsonl.
    pub const METRICS_INDEX: Self = Self("metrics.idx");
}

/// What the host provides. A clone is the same host.
pub trait Imports: Clone {
    /// Microseconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> u64;
    /// Append whole lines in one write; with `sync` they are on the disk when this returns. Returns the file's size
    /// in bytes afterwards, as far as the host knows without asking the system.
    fn append(&self, file: RunFile, lines: &str, sync: bool) -> Result<u64, StorageError>;
    /// Append bytes to a file that does not consist of lines.
    fn append_bytes(&self, file: RunFile, bytes: &[u8]) -> Result<(), StorageError>;
    /// Read at most `length` bytes from `offset`.
    fn read(
        &self,
        file: RunFile,
        part: Part,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, StorageError>;
    /// A part's size in bytes; 0 if it does not exist.
    fn size(&self, file: RunFile, part: Part) -> Result<u64, StorageError>;
    /// The parts that exist: those of the shared file, then those of each rank in order, each from the oldest.
    fn parts(&self, file: RunFile) -> Result<Vec<Part>, StorageError>;
    /// Start a new file if the current one holds at least `at_size` bytes, and retain at most `retained_files`.
    fn rotate(&self, file: RunFile, at_size: u64, retained_files: u32) -> Result<(), StorageError>;
    /// Replace the whole content atomically.
    fn replace(&self, file: RunFile, content: &[u8]) -> Result<(), StorageError>;
    /// Memory of the GPUs, or why it is unavailable.
    fn gpu_devices(&self) -> Result<GpuInventory, String>;
    /// Memory of the process and the machine, or why it is unavailable.
    fn system_memory(&self) -> Result<SystemMemory, String>;
}
