//! The services without a sandbox, for the logic linked natively: the twin that the sandbox is measured and tested
//! against. Not part of the public interface.

use std::path::Path;
use std::rc::Rc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use model_foundry_types::{GpuInventory, Part, StorageError, SystemMemory};

use super::HostServices;
use super::clocks::Clock;
use super::files::{Disk, Files};
use crate::folder::run_files::FileId;
use crate::{Error, Result as RunResult};

/// The services for a folder, without attempts, locks or a manifest. A clone shares them. Each call is that of the
/// component's import of the same name.
#[derive(Clone)]
#[allow(missing_docs, reason = "each function is documented in wit/host/")]
pub struct DirectServices(Rc<HostServices>);

#[allow(missing_docs, clippy::missing_errors_doc, reason = "as above")]
impl DirectServices {
    /// The services for a folder that exists.
    pub fn open(folder: &Path, clock: Clock, disk: Option<Box<dyn Disk>>) -> RunResult<Self> {
        let dir = Dir::open_ambient_dir(folder, ambient_authority())
            .map_err(|error| Error::path(folder, error))?;
        let mut files = Files::new(dir, None, false, true);
        if let Some(disk) = disk {
            files.set_disk(disk);
        }
        Ok(Self(Rc::new(HostServices::new(files, clock))))
    }

    pub fn now(&self) -> u64 {
        self.0.now()
    }

    pub fn monotonic(&self) -> u64 {
        self.0.clock.monotonic()
    }

    pub fn append(&self, file: FileId, lines: &str, sync: bool) -> Result<u64, StorageError> {
        self.0.files.borrow_mut().append(file, lines.as_bytes(), sync)
    }

    pub fn append_bytes(&self, file: FileId, bytes: &[u8]) -> Result<(), StorageError> {
        self.0.files.borrow_mut().append_bytes(file, bytes)
    }

    pub fn read(
        &self,
        file: FileId,
        part: Part,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, StorageError> {
        self.0.files.borrow_mut().read(file, part, offset, length)
    }

    pub fn size(&self, file: FileId, part: Part) -> Result<u64, StorageError> {
        self.0.files.borrow_mut().size(file, part)
    }

    pub fn parts(&self, file: FileId) -> Result<Vec<Part>, StorageError> {
        self.0.files.borrow().parts(file)
    }

    pub fn rotate(
        &self,
        file: FileId,
        at_size: u64,
        retained_files: u32,
    ) -> Result<(), StorageError> {
        self.0.files.borrow_mut().rotate(file, at_size, retained_files)
    }

    pub fn replace(&self, file: FileId, content: &[u8]) -> Result<(), StorageError> {
        self.0.files.borrow_mut().replace(file, content)
    }

    pub fn gpu_devices(&self) -> Result<GpuInventory, String> {
        self.0.gpu()
    }

    pub fn system_memory(&self) -> Result<SystemMemory, String> {
        self.0.system()
    }
}
