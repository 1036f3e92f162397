//! The C functions. Signatures, structures and numbers are those of nvml.h.

#![allow(non_snake_case, reason = "the names are the C library's")]
#![allow(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "only C calls these, by the contract of nvml.h"
)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

type Return = u32;
const SUCCESS: Return = 0;
const UNINITIALIZED: Return = 1;
const INVALID_ARGUMENT: Return = 2;
const NOT_SUPPORTED: Return = 3;
const NOT_FOUND: Return = 6;
const INSUFFICIENT_SIZE: Return = 7;
const ARGUMENT_VERSION_MISMATCH: Return = 25;

/// nvmlMemory_t.
#[repr(C)]
pub struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

/// nvmlMemory_v2_t.
#[repr(C)]
pub struct MemoryV2 {
    version: u32,
    total: u64,
    reserved: u64,
    free: u64,
    used: u64,
}

/// nvmlProcessInfo_v2_t, which version 3 of the calls fills too.
#[repr(C)]
pub struct Process {
    pid: u32,
    used: u64,
    gpu_instance: u32,
    compute_instance: u32,
}

/// nvmlDevice_t: the device's index plus one and, in the bits above, the MIG instance's index plus one.
type Handle = usize;
const MIG_SHIFT: u32 = 16;

/// How many times the library was initialized and not yet shut down.
static INITIALIZED: AtomicUsize = AtomicUsize::new(0);

/// Dl_info of dlfcn.h.
#[repr(C)]
struct LoadedObject {
    path: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, object: *mut LoadedObject) -> c_int;
}

/// The path from which this copy of the library was loaded.
fn library() -> PathBuf {
    let mut object = LoadedObject {
        path: std::ptr::null(),
        base: std::ptr::null_mut(),
        symbol: std::ptr::null(),
        address: std::ptr::null_mut(),
    };
    // SAFETY: the address is in this library, and `object` is a valid Dl_info.
    let found = unsafe { dladdr((&raw const INITIALIZED).cast(), &raw mut object) };
    assert_ne!(found, 0, "the loader knows this library");
    // SAFETY: dladdr found the object. Its path is a C string that lives as long as the object is loaded.
    let path = unsafe { CStr::from_ptr(object.path) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

struct Scenario(String);

impl Scenario {
    fn read() -> Self {
        let mut path = library().into_os_string();
        path.push(".scenario");
        Self(std::fs::read_to_string(path).expect("a scenario next to the library"))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0
            .lines()
            .filter_map(|line| line.split_once('='))
            .find_map(|(name, value)| (name.trim() == key).then(|| value.trim()))
    }

    fn number(&self, key: &str) -> u64 {
        self.text(key).map_or(0, |value| value.parse().expect("a number in the scenario"))
    }

    fn error(&self, subject: &str) -> Result<(), Return> {
        match self.number(&format!("{subject}.error")) {
            0 => Ok(()),
            error => Err(error as Return),
        }
    }
}

/// A device or a MIG instance in the scenario.
struct Device {
    scenario: Scenario,
    prefix: String,
}

impl Device {
    fn new(handle: Handle) -> Result<Self, Return> {
        let scenario = initialized()?;
        let device = (handle & ((1 << MIG_SHIFT) - 1)).checked_sub(1).ok_or(INVALID_ARGUMENT)?;
        let prefix = format!("device.{device}");
        scenario.error(&prefix)?;
        let Some(instance) = (handle >> MIG_SHIFT).checked_sub(1) else {
            return Ok(Self { scenario, prefix });
        };
        let prefix = format!("{prefix}.mig.{instance}");
        scenario.error(&prefix)?;
        Ok(Self { scenario, prefix })
    }

    /// The device of a handle, unless the scenario fails this call.
    fn for_call(handle: Handle, call: &str) -> Result<Self, Return> {
        let device = Self::new(handle)?;
        device.scenario.error(&device.key(call))?;
        Ok(device)
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.scenario.text(&self.key(key))
    }

    fn number(&self, key: &str) -> u64 {
        self.scenario.number(&self.key(key))
    }

    fn memory(&self) -> MemoryV2 {
        let [total, reserved, used] = ["total", "reserved", "used"].map(|key| self.number(key));
        MemoryV2 { version: 0, total, reserved, free: total - reserved - used, used }
    }
}

fn initialized() -> Result<Scenario, Return> {
    if INITIALIZED.load(Ordering::SeqCst) == 0 {
        return Err(UNINITIALIZED);
    }
    Ok(Scenario::read())
}

fn code(result: Result<(), Return>) -> Return {
    result.err().unwrap_or(SUCCESS)
}

fn store<T>(place: *mut T, value: T) -> Result<(), Return> {
    if place.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: not null, and by the contract of nvml.h valid for a write of one `T`.
    unsafe { place.write(value) };
    Ok(())
}

fn store_text(text: &str, buffer: *mut c_char, length: u32) -> Result<(), Return> {
    if buffer.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    if text.len() >= length as usize {
        return Err(INSUFFICIENT_SIZE);
    }
    // SAFETY: by the contract of nvml.h `buffer` has room for `length` bytes, which are more than the text's.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), text.len());
        buffer.add(text.len()).write(0);
    }
    Ok(())
}

fn store_processes(
    handle: Handle,
    call: &str,
    count: *mut u32,
    list: *mut Process,
) -> Result<(), Return> {
    let device = Device::for_call(handle, call)?;
    let processes: Vec<Process> = device
        .text(call)
        .unwrap_or_default()
        .split_whitespace()
        .map(|process| {
            let (pid, used) = process.split_once(':').expect("pid:bytes");
            Process {
                pid: pid.parse().expect("a pid"),
                used: if used == "-" { u64::MAX } else { used.parse().expect("bytes") },
                gpu_instance: u32::MAX,
                compute_instance: u32::MAX,
            }
        })
        .collect();
    if count.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: not null, and by the contract of nvml.h the size of `list` in elements.
    let room = unsafe { count.read() } as usize;
    store(count, processes.len() as u32)?;
    if processes.len() > room {
        return Err(INSUFFICIENT_SIZE);
    }
    for (place, process) in processes.into_iter().enumerate() {
        // SAFETY: by the contract of nvml.h `list` has room for `room` elements, and `place` is below `room`.
        unsafe { list.add(place).write(process) };
    }
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> Return {
    let scenario = Scenario::read();
    std::thread::sleep(std::time::Duration::from_secs(scenario.number("init.seconds")));
    let result = scenario.error("init");
    if result.is_ok() {
        INITIALIZED.fetch_add(1, Ordering::SeqCst);
    }
    code(result)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> Return {
    let fewer = |count: usize| count.checked_sub(1);
    match INITIALIZED.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer) {
        Ok(_) => SUCCESS,
        Err(_) => UNINITIALIZED,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetDriverVersion(buffer: *mut c_char, length: u32) -> Return {
    code(initialized().and_then(|scenario| {
        store_text(scenario.text("driver").unwrap_or("570.86.15"), buffer, length)
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetCount_v2(count: *mut u32) -> Return {
    code(initialized().and_then(|scenario| {
        scenario.error("count")?;
        store(count, scenario.number("count") as u32)
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: u32, handle: *mut Handle) -> Return {
    code(initialized().and_then(|scenario| {
        if u64::from(index) >= scenario.number("count") {
            return Err(INVALID_ARGUMENT);
        }
        let value = index as Handle + 1;
        Device::for_call(value, "handle")?;
        store(handle, value)
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetUUID(handle: Handle, buffer: *mut c_char, length: u32) -> Return {
    code(Device::for_call(handle, "uuid").and_then(|device| {
        store_text(device.text("uuid").expect("a uuid in the scenario"), buffer, length)
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetName(handle: Handle, buffer: *mut c_char, length: u32) -> Return {
    code(Device::for_call(handle, "name").and_then(|device| {
        store_text(device.text("name").unwrap_or("NVIDIA Stand-In"), buffer, length)
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMemoryInfo(handle: Handle, memory: *mut Memory) -> Return {
    code(Device::for_call(handle, "memory").and_then(|device| {
        let MemoryV2 { total, reserved, free, used, .. } = device.memory();
        store(memory, Memory { total, free, used: used + reserved })
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMemoryInfo_v2(handle: Handle, memory: *mut MemoryV2) -> Return {
    code(Device::for_call(handle, "memory_v2").and_then(|device| {
        if memory.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: not null, and by the contract of nvml.h a nvmlMemory_v2_t with its version set.
        let version = unsafe { (*memory).version };
        // NVML_STRUCT_VERSION(Memory, 2)
        if version != (size_of::<MemoryV2>() as u32 | 2 << 24) {
            return Err(ARGUMENT_VERSION_MISMATCH);
        }
        store(memory, MemoryV2 { version, ..device.memory() })
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMigMode(
    handle: Handle,
    current: *mut u32,
    pending: *mut u32,
) -> Return {
    code(Device::for_call(handle, "mig_mode").and_then(|device| {
        // Devices without MIG do not support this call.
        let mode = device.text("mig_mode").ok_or(NOT_SUPPORTED)?;
        let mode = mode.parse().expect("0 or 1");
        store(current, mode)?;
        store(pending, mode)
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMaxMigDeviceCount(handle: Handle, count: *mut u32) -> Return {
    code(
        Device::for_call(handle, "mig_slots")
            .and_then(|device| store(count, device.number("mig_slots") as u32)),
    )
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    parent: Handle,
    index: u32,
    handle: *mut Handle,
) -> Return {
    code(Device::new(parent).and_then(|device| {
        let value = parent | (index as Handle + 1) << MIG_SHIFT;
        if device.text(&format!("mig.{index}.uuid")).is_none() {
            return Err(NOT_FOUND);
        }
        Device::for_call(value, "handle")?;
        store(handle, value)
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    handle: Handle,
    count: *mut u32,
    list: *mut Process,
) -> Return {
    code(store_processes(handle, "compute", count, list))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v3(
    handle: Handle,
    count: *mut u32,
    list: *mut Process,
) -> Return {
    code(store_processes(handle, "graphics", count, list))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
    handle: Handle,
    count: *mut u32,
    list: *mut Process,
) -> Return {
    code(store_processes(handle, "mps", count, list))
}
