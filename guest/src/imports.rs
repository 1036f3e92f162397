//! Everything the logic can ask of its host, as one trait: implemented over the component's imports in
//! `component`, and by the host itself where the logic is linked natively.

/// A file of the run folder. The names behind these belong to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// main.log
    MainLog,
    /// metrics.jsonl
    Metrics,
    /// errors.jsonl
    Errors,
    /// performance.jsonl
    Performance,
    /// console.log
    Console,
    /// timing_report.json
    TimingReport,
    /// metrics.idx
    MetricsIndex,
    /// The Weights & Biases transaction log.
    Wandb,
}

/// Which part of a file. All parts together are the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// The rank whose shard it is; none for the shared file.
    pub rank: Option<u32>,
    /// How often it has been rotated; 0 is the one that is appended to.
    pub rotated: u32,
}

/// Why the storage refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
    /// The disk, a quota or the file's size limit is reached.
    #[error("{0}")]
    Full(String),
    /// The folder or the file may not be written.
    #[error("{0}")]
    ReadOnly(String),
    /// Anything else, in the system's words.
    #[error("{0}")]
    Other(String),
}

/// Memory of a GPU or of a MIG instance of one; sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuDevice {
    /// The driver's index of the (parent) device.
    pub index: u32,
    /// The MIG instance, where MIG is on.
    pub mig_instance: Option<u32>,
    /// The driver's identifier.
    pub uuid: String,
    /// The product name.
    pub name: String,
    /// All memory.
    pub total: u64,
    /// In use by any process.
    pub used: u64,
    /// Free for allocation.
    pub free: u64,
    /// Kept by the driver and the firmware.
    pub reserved: u64,
    /// In use by this process and its children, where the driver tells.
    pub process: Option<u64>,
}

/// What the GPU driver said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuInventory {
    /// The devices that answered.
    pub devices: Vec<GpuDevice>,
    /// One sentence for each device that did not.
    pub lost: Vec<String>,
}

/// Memory of the process and the machine, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemMemory {
    /// Physical memory of the process.
    pub process_resident: u64,
    /// Its address space.
    pub process_virtual: u64,
    /// The machine's physical memory.
    pub machine_total: u64,
    /// In use on the machine.
    pub machine_used: u64,
    /// What a new process could still get.
    pub machine_available: u64,
}

/// What the host gives the logic. Cloning shares the same host.
pub trait Imports: Clone {
    /// Microseconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> u64;
    /// Nanoseconds of a clock that never goes back.
    fn monotonic(&self) -> u64;
    /// Append whole lines in one write; `sync` reaches the disk before returning. The size afterwards, as
    /// far as the host knows without asking.
    fn append(&self, file: File, lines: &str, sync: bool) -> Result<u64, StorageError>;
    /// Append bytes to a file that is not lines.
    fn append_bytes(&self, file: File, bytes: &[u8]) -> Result<(), StorageError>;
    /// At most `length` bytes from `offset` on.
    fn read(
        &self,
        file: File,
        part: Part,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, StorageError>;
    /// The size in bytes; 0 where there is no such file.
    fn size(&self, file: File, part: Part) -> Result<u64, StorageError>;
    /// Which parts exist: the shared file's, then the ranks' in order, each oldest first.
    fn parts(&self, file: File) -> Result<Vec<Part>, StorageError>;
    /// Start a new file if this one holds at least `at_size` bytes, and keep at most `keep` in all.
    fn rotate(&self, file: File, at_size: u64, keep: u32) -> Result<(), StorageError>;
    /// Replace the whole content at once.
    fn replace(&self, file: File, content: &[u8]) -> Result<(), StorageError>;
    /// Memory of the GPUs, or why it cannot be told.
    fn gpu_devices(&self) -> Result<GpuInventory, String>;
    /// Memory of the process and the machine, or why it cannot be told.
    fn system_memory(&self) -> Result<SystemMemory, String>;
}
