//! What is behind the component's imports, and nothing else: the only code here that touches the operating system on
//! the component's behalf. One import is one file with its own `add_to_linker`.

pub(crate) mod clocks;
pub(crate) mod direct;
pub(crate) mod files;
pub(crate) mod gpu;
pub(crate) mod gpu_thread;
pub(crate) mod run_files;
pub(crate) mod sampler;
pub(crate) mod system;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model_foundry_types::{GpuInventory, SystemMemory};
use wasmtime::StoreLimits;
use wasmtime::component::Linker;

use clocks::Clock;
use files::Files;

/// Link every import.
pub(crate) fn add_to_linker(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    clocks::add_to_linker(linker)?;
    run_files::add_to_linker(linker)?;
    gpu::add_to_linker(linker)?;
    system::add_to_linker(linker)
}

/// Figures that were read before the component is called: a GPU's driver may hang, and must not hold up threads
/// that log in the meantime.
pub(crate) struct Sample {
    pub(crate) system: Result<SystemMemory, String>,
    pub(crate) gpu: Result<GpuInventory, String>,
}

/// The services for one run folder.
pub(crate) struct HostServices {
    /// In a cell, so that lines are appended directly from the component's memory.
    pub(crate) files: RefCell<Files>,
    pub(crate) clock: Clock,
    /// The time that the wall clock reports for a record that was buffered: when it was logged.
    pub(crate) time_of_call: Option<u64>,
    /// What `gpu.devices` and `system.usage` return next.
    pub(crate) sample: Option<Sample>,
}

impl HostServices {
    pub(crate) fn new(files: Files, clock: Clock) -> Self {
        Self { files: RefCell::new(files), clock, time_of_call: None, sample: None }
    }

    pub(crate) fn files(&mut self) -> &mut Files {
        self.files.get_mut()
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub(crate) fn now(&self) -> u64 {
        self.time_of_call.unwrap_or_else(|| self.clock.now())
    }

    fn gpu(&self) -> Result<GpuInventory, String> {
        self.sample.as_ref().map_or_else(|| Err(NO_SAMPLE.into()), |sample| sample.gpu.clone())
    }

    fn system(&self) -> Result<SystemMemory, String> {
        self.sample.as_ref().map_or_else(|| Err(NO_SAMPLE.into()), |sample| sample.system.clone())
    }
}

const NO_SAMPLE: &str = "no sample was taken for this call";

/// A Store's data: the services, and the limits of the component.
pub(crate) struct StoreData {
    pub(crate) services: HostServices,
    pub(crate) limits: StoreLimits,
    /// Epoch ticks so far, and those spent in imports during this call: a slow disk does not count against the
    /// component's deadline.
    pub(crate) ticks: Arc<AtomicU64>,
    pub(crate) ticks_in_imports: Cell<u64>,
    pub(crate) ticks_at_start: u64,
}

impl StoreData {
    /// Use the files without the time counting as the component's.
    fn off_the_clock<R>(&self, work: impl FnOnce(&mut Files) -> R) -> R {
        let before = self.ticks.load(Ordering::Relaxed);
        let result = work(&mut self.services.files.borrow_mut());
        let passed = self.ticks.load(Ordering::Relaxed) - before;
        self.ticks_in_imports.set(self.ticks_in_imports.get() + passed);
        result
    }
}
