//! The same powers for the logic linked natively: the baseline that the sandbox is measured and tested
//! against.

use std::path::Path;
use std::rc::Rc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use model_foundry_guest::imports::{File, GpuInventory, Imports, Part, StorageError, SystemMemory};

use super::Powers;
use super::clocks::Clock;
use super::files::{Disk, Files};
use crate::{Error, Result as RunResult};

/// A run folder's powers, shared by the loggers of `model_foundry_guest` that use them.
#[derive(Clone)]
pub struct NativeImports(Rc<Powers>);

impl NativeImports {
    /// The powers over a folder that exists, without attempts, locks or a manifest.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if the folder cannot be opened.
    pub fn open(folder: &Path, clock: Clock, disk: Option<Box<dyn Disk>>) -> RunResult<Self> {
        let dir = Dir::open_ambient_dir(folder, ambient_authority())
            .map_err(|error| Error::path(folder, error))?;
        let mut files = Files::new(dir, None, false, true);
        if let Some(disk) = disk {
            files.set_disk(disk);
        }
        Ok(Self(Rc::new(Powers::new(files, clock))))
    }
}

impl Imports for NativeImports {
    fn now(&self) -> u64 {
        self.0.now()
    }

    fn monotonic(&self) -> u64 {
        self.0.clock.monotonic()
    }

    fn append(&self, file: File, lines: &str, sync: bool) -> Result<u64, StorageError> {
        self.0.files.borrow_mut().append(file, lines.as_bytes(), sync)
    }

    fn append_bytes(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        self.0.files.borrow_mut().append_bytes(file, bytes)
    }

    fn read(
        &self,
        file: File,
        part: Part,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, StorageError> {
        self.0.files.borrow_mut().read(file, part, offset, length)
    }

    fn size(&self, file: File, part: Part) -> Result<u64, StorageError> {
        self.0.files.borrow_mut().size(file, part)
    }

    fn parts(&self, file: File) -> Result<Vec<Part>, StorageError> {
        self.0.files.borrow().parts(file)
    }

    fn rotate(&self, file: File, at_size: u64, keep: u32) -> Result<(), StorageError> {
        self.0.files.borrow_mut().rotate(file, at_size, keep)
    }

    fn replace(&self, file: File, content: &[u8]) -> Result<(), StorageError> {
        self.0.files.borrow_mut().replace(file, content)
    }

    fn gpu_devices(&self) -> Result<GpuInventory, String> {
        self.0.gpu()
    }

    fn system_memory(&self) -> Result<SystemMemory, String> {
        self.0.system()
    }
}
