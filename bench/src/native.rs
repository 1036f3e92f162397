//! The host services for the logic linked natively.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use model_foundry::{Clock, DirectServices, Disk, FileId};
use model_foundry_guest::imports::{
    GpuInventory, Imports, Part, RunFile, StorageError, SystemMemory,
};

/// The services for a run folder, shared by the loggers that use them.
#[derive(Clone)]
pub struct NativeImports {
    services: DirectServices,
    /// The files that were opened, as the component remembers them.
    opened: Rc<RefCell<Vec<(RunFile, FileId)>>>,
}

impl NativeImports {
    /// The services for a folder that exists, without attempts, locks or a manifest.
    ///
    /// # Errors
    ///
    /// [`model_foundry::Error::Path`] if the folder cannot be opened.
    pub fn open(
        folder: &Path,
        clock: Clock,
        disk: Option<Box<dyn Disk>>,
    ) -> model_foundry::Result<Self> {
        let services = DirectServices::open(folder, clock, disk)?;
        Ok(Self { services, opened: Rc::default() })
    }

    /// Nanoseconds of the clock that durations are measured with.
    pub fn monotonic(&self) -> u64 {
        self.services.monotonic()
    }

    fn file(&self, file: RunFile) -> Result<FileId, StorageError> {
        let mut opened = self.opened.borrow_mut();
        if let Some((_, id)) = opened.iter().find(|(known, _)| std::ptr::eq(known.0, file.0)) {
            return Ok(*id);
        }
        let id = FileId::named(file.0).ok_or(StorageError::NotFound)?;
        opened.push((file, id));
        Ok(id)
    }
}

impl Imports for NativeImports {
    fn now(&self) -> u64 {
        self.services.now()
    }

    fn append(&self, file: RunFile, lines: &str, sync: bool) -> Result<u64, StorageError> {
        self.services.append(self.file(file)?, lines, sync)
    }

    fn append_bytes(&self, file: RunFile, bytes: &[u8]) -> Result<(), StorageError> {
        self.services.append_bytes(self.file(file)?, bytes)
    }

    fn read(
        &self,
        file: RunFile,
        part: Part,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, StorageError> {
        self.services.read(self.file(file)?, part, offset, length)
    }

    fn size(&self, file: RunFile, part: Part) -> Result<u64, StorageError> {
        self.services.size(self.file(file)?, part)
    }

    fn parts(&self, file: RunFile) -> Result<Vec<Part>, StorageError> {
        self.services.parts(self.file(file)?)
    }

    fn rotate(&self, file: RunFile, at_size: u64, retained_files: u32) -> Result<(), StorageError> {
        self.services.rotate(self.file(file)?, at_size, retained_files)
    }

    fn replace(&self, file: RunFile, content: &[u8]) -> Result<(), StorageError> {
        self.services.replace(self.file(file)?, content)
    }

    fn gpu_devices(&self) -> Result<GpuInventory, String> {
        self.services.gpu_devices()
    }

    fn system_memory(&self) -> Result<SystemMemory, String> {
        self.services.system_memory()
    }
}
