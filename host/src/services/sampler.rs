//! Samples of memory: this process', the machine's, and each GPU's. They are taken outside the component's
//! lock, as a driver may take its time.

use std::path::PathBuf;
use std::time::Duration;

use crate::services::Sample;
use crate::services::gpu::visible;
use crate::services::gpu_thread::GpuThread;
use crate::services::system::{MachineMemory, descendants};

/// How long the driver may take for its first answer, and for a sample. Without persistence mode the first takes seconds.
const START: Duration = Duration::from_secs(3);
const SAMPLE: Duration = Duration::from_secs(1);

/// What takes samples.
pub(crate) struct Sampler {
    gpu: GpuThread,
    /// The devices that this process may use; none if the driver did not report them.
    seen: Option<Vec<String>>,
    memory: MachineMemory,
}

impl Sampler {
    /// What takes samples, and the device that this process trains on: "cuda:0 <name>", or "cpu". `nvml` is
    /// the library to load instead of the system's.
    pub(crate) fn new(nvml: Option<PathBuf>) -> (Self, String) {
        let mut gpu = GpuThread::new(nvml);
        let visible_devices = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let inventory = gpu.devices(&[], START);
        let seen =
            inventory.ok().map(|inventory| visible(inventory.devices, visible_devices.as_deref()));
        let first = seen.as_ref().and_then(|seen| seen.first());
        let device = first.map_or_else(|| "cpu".into(), |gpu| format!("cuda:0 {}", gpu.name));
        let seen = seen.map(|seen| seen.into_iter().map(|device| device.uuid).collect());
        (Self { gpu, seen, memory: MachineMemory::default() }, device)
    }

    /// The same for a process that was forked from one whose devices are known: the driver is not asked
    /// before a sample is needed.
    pub(crate) fn inherited(nvml: Option<PathBuf>, seen: Option<Vec<String>>) -> Self {
        Self { gpu: GpuThread::new(nvml), seen, memory: MachineMemory::default() }
    }

    /// The devices that this process may use, by UUID.
    pub(crate) fn seen(&self) -> Option<&Vec<String>> {
        self.seen.as_ref()
    }

    /// Sample the memory of these processes and what they started, or else of this one.
    pub(crate) fn sample(&mut self, watched: &[u32]) -> Sample {
        let family = if watched.is_empty() { Vec::new() } else { descendants(watched) };
        let gpu = self.gpu.devices(&family, SAMPLE).map(|mut inventory| {
            // Devices that this process may not use are none of its business.
            if let Some(seen) = &self.seen {
                inventory.devices.retain(|device| seen.contains(&device.uuid));
            }
            inventory
        });
        Sample { system: self.memory.read(watched), gpu }
    }
}
