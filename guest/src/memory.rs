//! A host in memory, for the tests here and for fuzz/.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::imports::{GpuInventory, Imports, Part, RunFile, StorageError, SystemMemory};

/// Files in memory, and a clock that advances by a microsecond with each reading. Clones are the same host.
#[derive(Clone, Default)]
pub struct Memory(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    files: HashMap<(RunFile, Part), Vec<u8>>,
    faults: Faults,
    now: u64,
    reads: u64,
    gpu: Option<Result<GpuInventory, String>>,
    system: Option<Result<SystemMemory, String>>,
}

/// What is wrong with the disk. The default is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Nothing can be written.
    pub read_only: bool,
    /// The most bytes that one read returns; `None` for no limit.
    pub longest_read: Option<usize>,
    /// How much too large the reported sizes are, as of files that are truncated after their size was read.
    pub missing: u64,
    /// How many reads still succeed; `None` for all.
    pub reads: Option<u32>,
}

/// The part that records are appended to.
pub const OWN: Part = Part { rank: None, rotated: 0 };

impl Memory {
    /// The content of a file's own part.
    pub fn content(&self, file: RunFile) -> Vec<u8> {
        self.0.borrow().files.get(&(file, OWN)).cloned().unwrap_or_default()
    }

    /// Change the content of a part, which is created if it is missing.
    pub fn change(&self, file: RunFile, part: Part, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.borrow_mut().files.entry((file, part)).or_default());
    }

    /// Delete a file's own part.
    pub fn remove(&self, file: RunFile) {
        self.0.borrow_mut().files.remove(&(file, OWN));
    }

    /// Set what is wrong with the disk from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// Set what memory samples find from now on.
    pub fn set_samples(
        &self,
        gpu: Result<GpuInventory, String>,
        system: Result<SystemMemory, String>,
    ) {
        let mut state = self.0.borrow_mut();
        (state.gpu, state.system) = (Some(gpu), Some(system));
    }

    /// How many bytes have been read.
    pub fn bytes_read(&self) -> u64 {
        self.0.borrow().reads
    }

    /// Change the content of a file's own part, unless the disk is read-only: the new size.
    fn write(&self, file: RunFile, change: impl FnOnce(&mut Vec<u8>)) -> Result<u64, StorageError> {
        let mut state = self.0.borrow_mut();
        if state.faults.read_only {
            return Err(StorageError::ReadOnly("the disk is read-only".into()));
        }
        let content = state.files.entry((file, OWN)).or_default();
        change(content);
        Ok(content.len() as u64)
    }
}

impl Imports for Memory {
    fn now(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        state.now += 1;
        1_700_000_000_000_000 + state.now
    }

    fn append(&self, file: RunFile, lines: &str, _sync: bool) -> Result<u64, StorageError> {
        self.write(file, |content| content.extend_from_slice(lines.as_bytes()))
    }

    fn append_bytes(&self, file: RunFile, bytes: &[u8]) -> Result<(), StorageError> {
        self.write(file, |content| content.extend_from_slice(bytes)).map(drop)
    }

    fn read(
        &self,
        file: RunFile,
        part: Part,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, StorageError> {
        let mut state = self.0.borrow_mut();
        if let Some(left) = &mut state.faults.reads {
            let Some(fewer) = left.checked_sub(1) else {
                return Err(StorageError::Other("the disk failed".into()));
            };
            *left = fewer;
        }
        let content = state.files.get(&(file, part)).ok_or(StorageError::NotFound)?;
        let length = (length as usize).min(state.faults.longest_read.unwrap_or(usize::MAX));
        let start = content.len().min(offset as usize);
        let end = content.len().min(start.saturating_add(length));
        let piece = content[start..end].to_vec();
        state.reads += piece.len() as u64;
        Ok(piece)
    }

    fn size(&self, file: RunFile, part: Part) -> Result<u64, StorageError> {
        let state = self.0.borrow();
        let content = state.files.get(&(file, part));
        Ok(content.map_or(0, |content| content.len() as u64 + state.faults.missing))
    }

    fn parts(&self, file: RunFile) -> Result<Vec<Part>, StorageError> {
        let state = self.0.borrow();
        let of_file = state.files.keys().filter(|(known, _)| *known == file);
        let mut parts: Vec<Part> = of_file.map(|(_, part)| *part).collect();
        parts.sort_by_key(|part| (part.rank, std::cmp::Reverse(part.rotated)));
        Ok(parts)
    }

    fn rotate(
        &self,
        _file: RunFile,
        _at_size: u64,
        _retained_files: u32,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    fn replace(&self, file: RunFile, content: &[u8]) -> Result<(), StorageError> {
        self.write(file, |old| *old = content.to_vec()).map(drop)
    }

    fn gpu_devices(&self) -> Result<GpuInventory, String> {
        let gpu = self.0.borrow().gpu.clone();
        gpu.unwrap_or_else(|| Err("no GPU in memory".into()))
    }

    fn system_memory(&self) -> Result<SystemMemory, String> {
        self.0.borrow().system.clone().unwrap_or_else(|| Ok(SystemMemory::default()))
    }
}
