//! Memory of the GPUs, as NVIDIA's management library (NVML) tells it. The library is loaded when first
//! asked for: a machine without a driver pays one failed dlopen a minute.
//!
//! Nothing is guessed. What the driver does not tell is none, or a sentence that says why: no driver, no
//! permission, a device that fell off the bus. None of it is an error of the training run.

mod reason;
mod visible;

// The stand-in library that they load is an ELF one.
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model_foundry_guest::imports::{GpuDevice, GpuInventory};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::{NvmlError, nvml_try};
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};

use reason::{ends_device, ends_session, is_missing, of_device, of_driver};

pub(crate) use visible::visible;

/// Where the loader finds the driver's library.
const LIBRARY: &str = if cfg!(windows) { "nvml.dll" } else { "libnvidia-ml.so.1" };

/// How long a library that could not be loaded is not looked for: a driver is seldom installed under a run.
const LOAD_AGAIN: Duration = Duration::from_secs(60);

/// How long a driver that refused is left alone: where no process keeps the devices open (persistence mode
/// off), initialising wakes each of them, which takes seconds.
const INITIALISE_AGAIN: Duration = Duration::from_secs(10);

/// The GPUs of the machine.
pub(crate) struct Gpu {
    library: Option<PathBuf>,
    driver: Driver,
    /// Each whole device that ever answered, by its UUID.
    known: BTreeMap<String, Known>,
    /// Whether the driver counts processes as this one does.
    same_pids: bool,
}

struct Known {
    /// Its last index; after a loss the driver may give it to another.
    index: u32,
    /// Whether the driver listed it when last asked.
    listed: bool,
}

enum Driver {
    Unopened,
    /// Boxed: the library's functions are 12 kB of pointers.
    Open(Box<Session>),
    Refused {
        reason: String,
        until: Instant,
    },
}

/// NVML, initialised.
struct Session {
    nvml: Nvml,
    since: Instant,
    /// Whether this driver's lists of processes can be read.
    process_lists: bool,
}

impl Gpu {
    /// Loads nothing yet. `library` is loaded in place of the system's libnvidia-ml.
    pub(crate) fn new(library: Option<PathBuf>) -> Self {
        Self {
            library,
            driver: Driver::Unopened,
            known: BTreeMap::new(),
            same_pids: in_first_pid_namespace(),
        }
    }

    /// The memory of all devices of the machine, and of the instances where a device has MIG on: then the
    /// device itself is not listed. [`visible`] narrows them to those of CUDA_VISIBLE_DEVICES.
    ///
    /// `reserved` is what the driver and the firmware keep. Drivers before R510 do not tell it apart: there
    /// it is 0 and `used` holds it, so that `used + free + reserved` is `total` either way.
    ///
    /// `process` is the sum over this process and the `watched` ones (children) of what the driver lists
    /// for them, as compute, MPS or graphics processes; a process on several lists counts once. It is 0
    /// where the driver lists others only, and none where it does not tell: under WDDM, without permission,
    /// before R510 and from 535.43 to 535.86, and in a container whose pids are not the driver's, unless
    /// bytes are listed for ours.
    ///
    /// # Errors
    ///
    /// One sentence, where there is no driver, it refuses, or it has no device to show. A driver that
    /// refused is asked again after 10 s, a library that could not be loaded after 60 s.
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
            .survey(&session, watched)
            .map_err(|error| self.refuse(of_driver(&error), now + INITIALISE_AGAIN))?;
        // A device that was reset answers to a new session only; the old one lasts while it is of use.
        let spent = inventory.devices.is_empty() && fell_off;
        if !spent || now < session.since + INITIALISE_AGAIN {
            self.driver = Driver::Open(session);
        }
        if inventory.devices.is_empty() && inventory.lost.is_empty() {
            return Err("NVML: the driver has no device to show".to_owned());
        }
        Ok(inventory)
    }

    /// Remembers why there is nothing to tell until then.
    fn refuse(&mut self, reason: String, until: Instant) -> String {
        self.driver = Driver::Refused { reason: reason.clone(), until };
        reason
    }

    /// Asks each device; also whether one of them fell off the bus. An error is the whole driver's.
    fn survey(
        &mut self,
        session: &Session,
        watched: &[u32],
    ) -> Result<(GpuInventory, bool), NvmlError> {
        let mut survey = Survey {
            session,
            watched,
            same_pids: self.same_pids,
            inventory: GpuInventory::default(),
        };
        let mut fell_off = false;
        let mut said = Vec::new();
        for index in 0..session.nvml.device_count()? {
            match survey.device(index) {
                Ok(uuid) => {
                    let listed = true;
                    self.known.insert(uuid.clone(), Known { index, listed });
                    said.push(uuid);
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
                    survey.lose(&subject, &of_device(&error));
                    said.extend(known.map(|(uuid, _)| uuid.clone()));
                }
            }
        }
        for (uuid, known) in &mut self.known {
            known.listed = said.contains(uuid);
            if !known.listed {
                fell_off = true;
                let subject = format!("GPU {} ({uuid})", known.index);
                survey.lose(&subject, "lost: the driver no longer lists it");
            }
        }
        Ok((survey.inventory, fell_off))
    }
}

impl Session {
    /// Fails with the reason and how long to leave it at that.
    fn open(library: Option<&OsStr>, now: Instant) -> Result<Box<Self>, (String, Duration)> {
        let library = library.unwrap_or(OsStr::new(LIBRARY));
        let nvml = Nvml::builder().lib_path(library).init();
        let nvml = nvml.map_err(|error| match error {
            NvmlError::LibloadingError(error) => {
                let library = library.display();
                let reason = format!("no NVIDIA driver: {library} could not be loaded ({error})");
                (reason, LOAD_AGAIN)
            }
            error => (of_driver(&error), INITIALISE_AGAIN),
        })?;
        let process_lists =
            nvml.sys_driver_version().map_or(true, |version| has_process_lists(&version));
        Ok(Box::new(Self { nvml, since: now, process_lists }))
    }
}

/// One round over the devices.
struct Survey<'a> {
    session: &'a Session,
    watched: &'a [u32],
    same_pids: bool,
    inventory: GpuInventory,
}

impl Survey<'_> {
    /// Adds the device or its MIG instances; its UUID.
    fn device(&mut self, index: u32) -> Result<String, NvmlError> {
        let device = self.session.nvml.device_by_index(index)?;
        let uuid = device.uuid()?;
        let mig = match device.mig_mode() {
            Ok(mode) => mode.current == 1,
            Err(error) if ends_device(&error) => return Err(error),
            // A device or a driver without MIG does not know the question.
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
                // A place that holds no instance.
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
            self.lose(&format!("GPU {index} ({uuid})"), "MIG is on and no instance was made");
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

    /// The bytes of this process and the watched ones; an error only where it is the device's end.
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
            // A process on two lists has the same bytes on both.
            *counted = used.max(*counted);
        }
        let sum = bytes.into_values().fold(0, u64::saturating_add);
        // Nothing listed for us is nothing used only where we would be listed.
        Ok((sum > 0 || (complete && self.same_pids)).then_some(sum))
    }
}

/// Bytes of a device or a MIG instance.
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

    /// nvmlDeviceGetMemoryInfo, which counts reserved memory as used and which nvml-wrapper no longer has.
    #[allow(unsafe_code, reason = "a C function that nvml-wrapper only loads")]
    fn first_version(device: &Device<'_>) -> Result<Self, NvmlError> {
        let Ok(function) = &device.nvml().lib().nvmlDeviceGetMemoryInfo else {
            return Err(NvmlError::FunctionNotFound);
        };
        // SAFETY: the structure is three C integers, for which zero bytes are values. The handle is used
        // while the session that gave it lives, and the function, loaded from the same library, writes
        // into the structure only.
        let memory = unsafe {
            let mut memory = mem::zeroed();
            nvml_try(function(device.handle(), &raw mut memory))?;
            memory
        };
        Ok(Self { total: memory.total, used: memory.used, free: memory.free, reserved: 0 })
    }
}

/// Drivers 535.43 to 535.86 wrote a longer element into the lists of processes, under the old version of
/// the call, past the end of the caller's memory: <https://github.com/XuehaiPan/nvitop/pull/79> and 89.
fn has_process_lists(driver: &str) -> bool {
    let mut numbers = driver.split('.').map(str::parse::<u32>);
    let (Some(Ok(535)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return true;
    };
    !(43..98).contains(&minor)
}

/// Whether pids here are the machine's own. In a container the driver lists either the machine's pids, or
/// the container's with no bytes (<https://github.com/NVIDIA/open-gpu-kernel-modules/pull/614>).
fn in_first_pid_namespace() -> bool {
    /// PROC_PID_INIT_INO of Linux, include/linux/proc_ns.h.
    const FIRST: &str = "pid:[4026531836]";
    !cfg!(target_os = "linux")
        || std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == FIRST)
}
