//! The memory of the GPUs, as reported by NVIDIA's management library (NVML). The library is loaded on first
//! use; a machine without a driver pays for one failed dlopen per minute.
//!
//! Nothing is guessed. What the driver does not report is none, or a sentence that says why: no driver, no
//! permission, a device that fell off the bus. Nothing of this is an error of the training run.

mod reason;
mod visible;

// The tests load an ELF library in place of NVML.
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model_foundry_types::{GpuDevice, GpuInventory};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::{NvmlError, nvml_try};
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::StoreData;
use reason::{ends_device, ends_session, is_missing, of_device, of_driver};

pub(crate) use visible::visible;

/// The name by which the loader finds the driver's library.
const LIBRARY: &str = if cfg!(windows) { "nvml.dll" } else { "libnvidia-ml.so.1" };

/// How long to wait before loading a missing library again: a driver is seldom installed during a run.
const LOAD_AGAIN: Duration = Duration::from_secs(60);

/// How long to wait before initializing a driver again that refused. If no process has the devices open and
/// persistence mode is off, initialization wakes each of them, which takes seconds.
const INITIALIZE_AGAIN: Duration = Duration::from_secs(10);

/// Link the import `model-foundry:host/gpu`.
pub(super) fn add_to_linker(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    linker
        .instance("model-foundry:host/gpu@0.1.0")?
        .func_wrap("devices", |store: StoreContextMut<'_, StoreData>, (): ()| {
            Ok((store.data().services.gpu(),))
        })
}

/// The GPUs of the machine.
pub(crate) struct Gpu {
    library: Option<PathBuf>,
    driver: Driver,
    /// Each physical device that has ever answered, by its UUID.
    known: BTreeMap<String, Known>,
    /// Whether the driver and this process use the same process ids.
    same_pids: bool,
}

struct Known {
    /// Its last index. After a loss the driver may give the index to another device.
    index: u32,
    /// Whether the driver listed it in the last poll.
    listed: bool,
}

enum Driver {
    Unopened,
    /// Boxed, because the pointers to the library's functions take 12 kB.
    Open(Box<Session>),
    Refused {
        reason: String,
        until: Instant,
    },
}

/// NVML, initialized.
struct Session {
    nvml: Nvml,
    since: Instant,
    /// Whether this driver's process lists can be read.
    process_lists: bool,
}

impl Gpu {
    /// Does not load anything yet. `library` is loaded in place of the system's libnvidia-ml.
    pub(crate) fn new(library: Option<PathBuf>) -> Self {
        Self {
            library,
            driver: Driver::Unopened,
            known: BTreeMap::new(),
            same_pids: in_first_pid_namespace(),
        }
    }

    /// The memory of all devices of the machine, in bytes. If MIG is enabled on a device, its instances are
    /// listed instead of the device. [`visible`] selects those in CUDA_VISIBLE_DEVICES.
    ///
    /// `reserved` is the memory that driver and firmware reserve. Drivers before R510 do not report it
    /// separately: there it is 0 and included in `used`, so that `used + free + reserved` is `total` in either
    /// case.
    ///
    /// `process` is the memory of this process and the `watched` ones (children), as the driver lists it for
    /// compute, MPS and graphics processes; a process on several lists counts once. It is 0 if the driver lists
    /// only other processes. It is none if the driver does not report it: under WDDM, without permission,
    /// before R510, from 535.43 to 535.86, and in a container whose process ids are not the driver's, unless
    /// the driver lists memory for one of these processes.
    ///
    /// # Errors
    ///
    /// A sentence, if there is no driver, or it refuses, or it lists no devices. A driver that refused is tried
    /// again after 10 s, and a library that could not be loaded after 60 s.
    pub(crate) fn devices(&mut self, watched: &[u32]) -> Result<GpuInventory, String> {
        self.devices_at(watched, Instant::now())
    }

    fn devices_at(&mut self, watched: &[u32], now: Instant) -> Result<GpuInventory, String> {
        if let Driver::Refused { reason, until } = &self.driver
            && now < *until
        {
            return Err(reason.clone());
        }
        let session = match mem::replace(&mut self.driver, Driver::Unopened) {
            Driver::Open(session) => session,
            Driver::Unopened | Driver::Refused { .. } => {
                Session::open(self.library.as_deref().map(Path::as_os_str), now)
                    .map_err(|(reason, wait)| self.refuse(reason, now + wait))?
            }
        };
        let (inventory, fell_off) = self
            .poll(&session, watched)
            .map_err(|error| self.refuse(of_driver(&error), now + INITIALIZE_AGAIN))?;
        // A device that was reset answers only in a new session. Keep the old session while it has other
        // devices.
        let spent = inventory.devices.is_empty() && fell_off;
        if !spent || now < session.since + INITIALIZE_AGAIN {
            self.driver = Driver::Open(session);
        }
        if inventory.devices.is_empty() && inventory.lost.is_empty() {
            return Err("NVML: the driver lists no devices".to_owned());
        }
        Ok(inventory)
    }

    /// Remembers why no driver is available until then.
    fn refuse(&mut self, reason: String, until: Instant) -> String {
        self.driver = Driver::Refused { reason: reason.clone(), until };
        reason
    }

    /// Queries each device. Also returns whether a device fell off the bus. An error concerns the whole driver.
    fn poll(
        &mut self,
        session: &Session,
        watched: &[u32],
    ) -> Result<(GpuInventory, bool), NvmlError> {
        let mut poll = DevicePoll {
            session,
            watched,
            same_pids: self.same_pids,
            inventory: GpuInventory::default(),
        };
        let mut fell_off = false;
        let mut listed_now = Vec::new();
        for index in 0..session.nvml.device_count()? {
            match poll.device(index) {
                Ok(uuid) => {
                    let listed = true;
                    self.known.insert(uuid.clone(), Known { index, listed });
                    listed_now.push(uuid);
                }
                Err(error) if ends_session(&error) => return Err(error),
                Err(error) => {
                    fell_off |= ends_device(&error);
                    let known =
                        self.known.iter().find(|(_, known)| known.listed && known.index == index);
                    let subject = match known {
                        Some((uuid, _)) => format!("GPU {index} ({uuid})"),
                        None => format!("GPU {index}"),
                    };
                    poll.lose(&subject, &of_device(&error));
                    listed_now.extend(known.map(|(uuid, _)| uuid.clone()));
                }
            }
        }
        for (uuid, known) in &mut self.known {
            known.listed = listed_now.contains(uuid);
            if !known.listed {
                fell_off = true;
                let subject = format!("GPU {} ({uuid})", known.index);
                poll.lose(&subject, "lost: the driver no longer lists it");
            }
        }
        Ok((poll.inventory, fell_off))
    }
}

impl Session {
    /// Loads and initializes NVML. The error is the reason and how long to wait before the next try.
    fn open(library: Option<&OsStr>, now: Instant) -> Result<Box<Self>, (String, Duration)> {
        let library = library.unwrap_or(OsStr::new(LIBRARY));
        let nvml = Nvml::builder().lib_path(library).init();
        let nvml = nvml.map_err(|error| match error {
            NvmlError::LibloadingError(error) => {
                let library = library.display();
                let reason = format!("no NVIDIA driver: {library} could not be loaded ({error})");
                (reason, LOAD_AGAIN)
            }
            error => (of_driver(&error), INITIALIZE_AGAIN),
        })?;
        if nvml.lib().nvmlShutdown.is_err() {
            // Dropping it would call that function.
            mem::forget(nvml);
            let library = library.display();
            let reason = format!("no NVIDIA driver: {library} has no nvmlShutdown");
            return Err((reason, LOAD_AGAIN));
        }
        let process_lists =
            nvml.sys_driver_version().map_or(true, |version| has_process_lists(&version));
        Ok(Box::new(Self { nvml, since: now, process_lists }))
    }
}

/// One pass over all devices.
struct DevicePoll<'a> {
    session: &'a Session,
    watched: &'a [u32],
    same_pids: bool,
    inventory: GpuInventory,
}

impl DevicePoll<'_> {
    /// Adds the device or its MIG instances, and returns the device's UUID.
    fn device(&mut self, index: u32) -> Result<String, NvmlError> {
        let device = self.session.nvml.device_by_index(index)?;
        let uuid = device.uuid()?;
        let mig = match device.mig_mode() {
            Ok(mode) => mode.current == 1,
            Err(error) if ends_device(&error) => return Err(error),
            // The device or the driver does not support MIG.
            Err(_) => false,
        };
        if !mig {
            let device = self.memory(&device, index, None)?;
            self.inventory.devices.push(device);
            return Ok(uuid);
        }
        let mut instances = 0;
        for instance in 0..device.mig_device_count()? {
            let added = match device.mig_device_by_index(instance) {
                // An index without an instance.
                Err(NvmlError::NotFound) => continue,
                handle => handle.and_then(|it| self.memory(&it, index, Some(instance))),
            };
            instances += 1;
            match added {
                Ok(device) => self.inventory.devices.push(device),
                Err(error) if ends_device(&error) => return Err(error),
                Err(error) => {
                    self.lose(&format!("GPU {index} MIG {instance}"), &of_device(&error));
                }
            }
        }
        if instances == 0 {
            self.lose(&format!("GPU {index} ({uuid})"), "MIG is enabled but has no instances");
        }
        Ok(uuid)
    }

    fn lose(&mut self, subject: &str, why: &str) {
        self.inventory.lost.push(format!("{subject}: {why}"));
    }

    fn memory(
        &self,
        device: &Device<'_>,
        index: u32,
        mig_instance: Option<u32>,
    ) -> Result<GpuDevice, NvmlError> {
        let memory = Memory::of(device)?;
        Ok(GpuDevice {
            index,
            mig_instance,
            uuid: device.uuid()?,
            name: device.name()?,
            total: memory.total,
            used: memory.used,
            free: memory.free,
            reserved: memory.reserved,
            process: self.process(device)?,
        })
    }

    /// The bytes of this process and the watched ones. An error means that the device is lost.
    fn process(&self, device: &Device<'_>) -> Result<Option<u64>, NvmlError> {
        if !self.session.process_lists {
            return Ok(None);
        }
        let mut processes = match device.running_compute_processes() {
            Ok(processes) => processes,
            Err(error) if ends_device(&error) => return Err(error),
            Err(_) => return Ok(None),
        };
        let mut complete = true;
        for further in [device.mps_running_compute_processes(), device.running_graphics_processes()]
        {
            match further {
                Ok(further) => processes.extend(further),
                Err(error) if ends_device(&error) => return Err(error),
                Err(error) => complete &= is_missing(&error),
            }
        }
        let own = |process: &ProcessInfo| {
            process.pid == std::process::id() || self.watched.contains(&process.pid)
        };
        let mut bytes = BTreeMap::new();
        for process in processes.into_iter().filter(own) {
            let UsedGpuMemory::Used(used) = process.used_gpu_memory else {
                return Ok(None);
            };
            let instance = (process.gpu_instance_id, process.compute_instance_id);
            let counted = bytes.entry((process.pid, instance)).or_insert(0);
            // A process on several lists has the same bytes on each.
            *counted = used.max(*counted);
        }
        let sum = bytes.into_values().fold(0, u64::saturating_add);
        // No entry means no memory only if the driver would list these processes.
        Ok((sum > 0 || (complete && self.same_pids)).then_some(sum))
    }
}

/// The memory of a device or a MIG instance, in bytes.
struct Memory {
    total: u64,
    used: u64,
    free: u64,
    reserved: u64,
}

impl Memory {
    fn of(device: &Device<'_>) -> Result<Self, NvmlError> {
        match device.memory_info() {
            Ok(memory) => Ok(Self {
                total: memory.total,
                used: memory.used,
                free: memory.free,
                reserved: memory.reserved,
            }),
            Err(error) if is_missing(&error) => Self::first_version(device),
            Err(error) => Err(error),
        }
    }

    /// Calls nvmlDeviceGetMemoryInfo, which counts reserved memory as used, and for which nvml-wrapper no
    /// longer has a safe function.
    #[allow(unsafe_code, reason = "nvml-wrapper loads this C function but does not wrap it")]
    fn first_version(device: &Device<'_>) -> Result<Self, NvmlError> {
        let Ok(function) = &device.nvml().lib().nvmlDeviceGetMemoryInfo else {
            return Err(NvmlError::FunctionNotFound);
        };
        // SAFETY: the structure is three C integers, for which all-zero bytes are valid. The handle is used
        // while its session exists. The function was loaded from the same library, and writes only to the
        // structure.
        let memory = unsafe {
            let mut memory = mem::zeroed();
            nvml_try(function(device.handle(), &raw mut memory))?;
            memory
        };
        Ok(Self { total: memory.total, used: memory.used, free: memory.free, reserved: 0 })
    }
}

/// Whether this driver's process lists can be read. With drivers 535.43 to 535.86, the old version of the call
/// writes larger elements, past the end of the caller's memory: <https://github.com/XuehaiPan/nvitop/pull/79>
/// and 89.
fn has_process_lists(driver: &str) -> bool {
    let mut numbers = driver.split('.').map(str::parse::<u32>);
    let (Some(Ok(535)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return true;
    };
    !(43..98).contains(&minor)
}

/// Whether process ids here are those of the machine. In a container the driver lists either the machine's ids,
/// or the container's ids without memory (<https://github.com/NVIDIA/open-gpu-kernel-modules/pull/614>).
fn in_first_pid_namespace() -> bool {
    /// Linux's PROC_PID_INIT_INO, from include/linux/proc_ns.h.
    const FIRST: &str = "pid:[4026531836]";
    !cfg!(target_os = "linux")
        || std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == FIRST)
}
