//! What the component may use: everything behind its imports, and nothing else.

pub(crate) mod clocks;
pub(crate) mod component;
pub(crate) mod files;
pub(crate) mod gpu;
pub(crate) mod native;
pub(crate) mod system;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use model_foundry_guest::imports::{GpuInventory, SystemMemory};
use wasmtime::StoreLimits;

use clocks::Clock;
use files::Files;

/// A memory sample that was taken before the component was called: a GPU's driver may hang, and must not
/// hold up those who log meanwhile.
pub(crate) struct MemorySample {
    pub(crate) system: Result<SystemMemory, String>,
    pub(crate) gpu: Result<GpuInventory, String>,
}

/// What stands behind the imports of one run folder.
pub(crate) struct Powers {
    /// Behind a cell, so that lines are appended right from the component's memory.
    pub(crate) files: RefCell<Files>,
    pub(crate) clock: Clock,
    /// What the wall clock answers for a record that was buffered: when it was logged.
    pub(crate) time_of_call: Option<u64>,
    /// What `gpu.devices` and `system.memory` answer next.
    pub(crate) sample: Option<MemorySample>,
}

impl Powers {
    pub(crate) fn new(files: Files, clock: Clock) -> Self {
        Self { files: RefCell::new(files), clock, time_of_call: None, sample: None }
    }

    /// The files.
    pub(crate) fn files(&mut self) -> &mut Files {
        self.files.get_mut()
    }

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

/// A Store's data: the powers, and what bounds the component.
pub(crate) struct State {
    pub(crate) powers: Powers,
    pub(crate) limits: StoreLimits,
    /// How often the ticker has ticked, and how much of it went by inside imports during this call: a slow
    /// disk is no fault of the component's.
    pub(crate) ticks: Arc<AtomicU64>,
    pub(crate) ticks_in_imports: Cell<u64>,
    pub(crate) ticks_at_start: u64,
}
