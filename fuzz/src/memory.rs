//! A host whose files lie in memory.

use std::cell::Cell;
use std::rc::Rc;

use model_foundry_guest::imports::{File, GpuInventory, Imports, Part, StorageError, SystemMemory};

/// Parts of metrics.jsonl, to be read alone. There is no other file.
#[derive(Clone)]
pub(crate) struct Memory(Rc<Parts>);

struct Parts {
    parts: Vec<(Part, Vec<u8>)>,
    /// The most that one read gives.
    piece: usize,
    /// How much larger than it is each part says it is: a file that is cut shorter while it is read.
    missing: u64,
    /// How many reads succeed before one does not.
    reads: Cell<Option<u32>>,
}

impl Memory {
    pub(crate) fn new(
        parts: Vec<(Part, Vec<u8>)>,
        piece: usize,
        missing: u64,
        reads: Option<u32>,
    ) -> Self {
        Self(Rc::new(Parts { parts, piece: piece.max(1), missing, reads: Cell::new(reads) }))
    }

    fn content(&self, file: File, part: Part) -> Option<&[u8]> {
        let mut parts = self.0.parts.iter().filter(|_| file == File::Metrics);
        parts.find(|(known, _)| *known == part).map(|(_, content)| content.as_slice())
    }
}

fn read_only<T>() -> Result<T, StorageError> {
    Err(StorageError::ReadOnly("the files are read alone".to_owned()))
}

impl Imports for Memory {
    fn now(&self) -> u64 {
        0
    }

    fn monotonic(&self) -> u64 {
        0
    }

    fn append(&self, _: File, _: &str, _: bool) -> Result<u64, StorageError> {
        read_only()
    }

    fn append_bytes(&self, _: File, _: &[u8]) -> Result<(), StorageError> {
        read_only()
    }

    fn read(
        &self,
        file: File,
        part: Part,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, StorageError> {
        if let Some(left) = self.0.reads.get() {
            let Some(left) = left.checked_sub(1) else {
                return Err(StorageError::Other("the disk is gone".to_owned()));
            };
            self.0.reads.set(Some(left));
        }
        let content = self.content(file, part).ok_or(StorageError::NotFound)?;
        let rest = content.get(offset as usize..).unwrap_or_default();
        Ok(rest[..rest.len().min(length as usize).min(self.0.piece)].to_vec())
    }

    fn size(&self, file: File, part: Part) -> Result<u64, StorageError> {
        Ok(self.content(file, part).map_or(0, |content| content.len() as u64 + self.0.missing))
    }

    fn parts(&self, file: File) -> Result<Vec<Part>, StorageError> {
        let parts = self.0.parts.iter().filter(|_| file == File::Metrics);
        Ok(parts.map(|(part, _)| *part).collect())
    }

    fn rotate(&self, _: File, _: u64, _: u32) -> Result<(), StorageError> {
        read_only()
    }

    fn replace(&self, _: File, _: &[u8]) -> Result<(), StorageError> {
        read_only()
    }

    fn gpu_devices(&self) -> Result<GpuInventory, String> {
        Err("there is no driver".to_owned())
    }

    fn system_memory(&self) -> Result<SystemMemory, String> {
        Err("there is no system".to_owned())
    }
}
