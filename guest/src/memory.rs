//! A host in memory, for tests.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::imports::{File, GpuInventory, Imports, Part, StorageError, SystemMemory};

/// Files in memory and a clock that moves by a microsecond with each look.
#[derive(Clone, Default)]
pub(crate) struct Memory(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    files: HashMap<(File, Part), Vec<u8>>,
    now: u64,
    reads: u64,
    gpu: Option<Result<GpuInventory, String>>,
    system: Option<Result<SystemMemory, String>>,
}

/// The part that is appended to.
pub(crate) const OWN: Part = Part { rank: None, rotated: 0 };

impl Memory {
    /// A file's content.
    pub(crate) fn content(&self, file: File) -> Vec<u8> {
        self.0.borrow().files.get(&(file, OWN)).cloned().unwrap_or_default()
    }

    /// Change a file's content.
    pub(crate) fn change(&self, file: File, part: Part, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.borrow_mut().files.entry((file, part)).or_default());
    }

    /// Forget a file.
    pub(crate) fn remove(&self, file: File) {
        self.0.borrow_mut().files.remove(&(file, OWN));
    }

    /// What memory samples find from now on.
    pub(crate) fn set_samples(
        &self,
        gpu: Result<GpuInventory, String>,
        system: Result<SystemMemory, String>,
    ) {
        let mut state = self.0.borrow_mut();
        (state.gpu, state.system) = (Some(gpu), Some(system));
    }

    /// How many bytes have been read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.0.borrow().reads
    }
}

impl Imports for Memory {
    fn now(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        state.now += 1;
        1_700_000_000_000_000 + state.now
    }

    fn monotonic(&self) -> u64 {
        self.now() * 1_000
    }

    fn append(&self, file: File, lines: &str, _sync: bool) -> Result<u64, StorageError> {
        let mut state = self.0.borrow_mut();
        let content = state.files.entry((file, OWN)).or_default();
        content.extend_from_slice(lines.as_bytes());
        Ok(content.len() as u64)
    }

    fn append_bytes(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        self.change(file, OWN, |content| content.extend_from_slice(bytes));
        Ok(())
    }

    fn read(
        &self,
        file: File,
        part: Part,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, StorageError> {
        let mut state = self.0.borrow_mut();
        let content = state.files.get(&(file, part)).ok_or(StorageError::NotFound)?;
        let start = content.len().min(offset as usize);
        let end = content.len().min(start + length as usize);
        let piece = content[start..end].to_vec();
        state.reads += piece.len() as u64;
        Ok(piece)
    }

    fn size(&self, file: File, part: Part) -> Result<u64, StorageError> {
        Ok(self.0.borrow().files.get(&(file, part)).map_or(0, Vec::len) as u64)
    }

    fn parts(&self, file: File) -> Result<Vec<Part>, StorageError> {
        let state = self.0.borrow();
        let of_file = state.files.keys().filter(|(known, _)| *known == file);
        let mut parts: Vec<Part> = of_file.map(|(_, part)| *part).collect();
        parts.sort_by_key(|part| (part.rank, std::cmp::Reverse(part.rotated)));
        Ok(parts)
    }

    fn rotate(&self, _file: File, _at_size: u64, _keep: u32) -> Result<(), StorageError> {
        Ok(())
    }

    fn replace(&self, file: File, content: &[u8]) -> Result<(), StorageError> {
        self.change(file, OWN, |old| *old = content.to_vec());
        Ok(())
    }

    fn gpu_devices(&self) -> Result<GpuInventory, String> {
        let gpu = self.0.borrow().gpu.clone();
        gpu.unwrap_or_else(|| Err("no GPU in memory".into()))
    }

    fn system_memory(&self) -> Result<SystemMemory, String> {
        self.0.borrow().system.clone().unwrap_or_else(|| Ok(SystemMemory::default()))
    }
}
