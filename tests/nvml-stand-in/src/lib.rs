//! A stand-in for NVIDIA's libnvidia-ml, for tests of drivers, devices and failures that no test machine has.
//!
//! As a C library it has the functions that the host's gpu import calls, which answer from a scenario file. As a
//! Rust library it has [`StandInDriver`], which makes a copy of the C library with a scenario.
//!
//! The scenario file is named as the library with `.scenario` after it, and is read again at each call. It has
//! `key=value` lines; a missing number is 0.
//!
//! ```text
//! driver=570.86.15              the driver's version
//! init.error=9                  what nvmlInit_v2 returns
//! init.seconds=60               how long it takes
//! count=1                       the number of devices
//! count.error=1
//! device.0.uuid=GPU-…
//! device.0.name=NVIDIA H100 80GB HBM3
//! device.0.total=1000           bytes; free is what is neither used nor reserved
//! device.0.reserved=10
//! device.0.used=200             without the reserved ones; version 1 of the call adds them
//! device.0.compute=41:100 42:-  pid:bytes; a dash is NVML_VALUE_NOT_AVAILABLE. Also graphics, mps
//! device.0.mig_mode=1
//! device.0.mig_slots=7          where MIG is on; the instances are device.0.mig.N.uuid and so on
//! device.0.error=15             what each call on that device returns
//! device.0.CALL.error=4         the same for one call: handle, uuid, name, memory, memory_v2, mig_mode,
//!                               mig_slots, compute, graphics, mps
//! ```

// The library finds its scenario with dladdr, and `StandInDriver::without` edits it as an ELF file.
#[cfg(target_os = "linux")]
mod library;

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

/// A copy of the C library in a folder of its own, so that the loader takes it for a library of its own.
pub struct StandInDriver {
    folder: TempDir,
}

impl StandInDriver {
    /// A driver that answers from this scenario.
    pub fn new(scenario: &str) -> Self {
        let driver = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        let built = stand_in();
        if let Err(error) = fs::copy(&built, driver.library()) {
            panic!("could not copy the stand-in {}: {error}", built.display());
        }
        driver.becomes(scenario);
        driver
    }

    /// A driver that is too old to have a function: its name in the library is changed.
    pub fn without(self, function: &str) -> Self {
        let mut bytes = fs::read(self.library()).expect("the library");
        let name = format!("\0{function}\0").into_bytes();
        let places: Vec<usize> = bytes
            .windows(name.len())
            .enumerate()
            .filter_map(|(place, window)| (window == name).then_some(place))
            .collect();
        assert!(!places.is_empty(), "{function} is exported");
        for place in places {
            bytes[place + 1] = b'-';
        }
        fs::write(self.library(), bytes).expect("the library is written");
        self
    }

    /// Answer from another scenario from now on.
    pub fn becomes(&self, scenario: &str) {
        let path = self.folder.path().join("libnvidia-ml.so.1.scenario");
        fs::write(path, scenario).expect("the scenario is written");
    }

    /// The path of the library, for `RunBuilder::nvml`.
    pub fn library(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }
}

/// Where cargo builds the C library: next to the test that depends on this crate, in <target>/<profile>/deps.
fn stand_in() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.with_file_name(format!("{DLL_PREFIX}nvml_stand_in{DLL_SUFFIX}"))
}
