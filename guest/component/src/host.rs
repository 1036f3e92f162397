//! The imports, as the logic's trait.

use std::cell::RefCell;

use model_foundry_guest::imports::{
    GpuInventory, Imports, Part, RunFile, StorageError, SystemMemory,
};

use crate::bindings::model_foundry::host::{gpu, run_files, system};
use crate::bindings::wasi::clocks::wall_clock;

/// The component's host.
#[derive(Clone, Copy)]
pub(crate) struct Host;

thread_local! {
    /// The files that were opened: the name of each, and the number that the host gave.
    static OPENED: RefCell<Vec<(RunFile, u32)>> = const { RefCell::new(Vec::new()) };
}

/// The host's number of a file, which is asked for once.
fn number(file: RunFile) -> Result<u32, StorageError> {
    OPENED.with_borrow_mut(|opened| {
        // The names are constants: the same name has the same address.
        let known = opened.iter().find(|(known, _)| std::ptr::eq(known.0, file.0));
        if let Some((_, number)) = known {
            return Ok(*number);
        }
        let number = run_files::open(file.0)?;
        opened.push((file, number));
        Ok(number)
    })
}

impl Imports for Host {
    fn now(&self) -> u64 {
        let now = wall_clock::now();
        now.seconds * 1_000_000 + u64::from(now.nanoseconds / 1_000)
    }

    fn append(&self, file: RunFile, lines: &str, sync: bool) -> Result<u64, StorageError> {
        run_files::append(number(file)?, lines, sync)
    }

    fn append_bytes(&self, file: RunFile, bytes: &[u8]) -> Result<(), StorageError> {
        run_files::append_bytes(number(file)?, bytes)
    }

    fn read(
        &self,
        file: RunFile,
        part: Part,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, StorageError> {
        run_files::read(number(file)?, part, offset, length)
    }

    fn size(&self, file: RunFile, part: Part) -> Result<u64, StorageError> {
        run_files::size(number(file)?, part)
    }

    fn parts(&self, file: RunFile) -> Result<Vec<Part>, StorageError> {
        run_files::parts(number(file)?)
    }

    fn rotate(&self, file: RunFile, at_size: u64, retained_files: u32) -> Result<(), StorageError> {
        run_files::rotate(number(file)?, at_size, retained_files)
    }

    fn replace(&self, file: RunFile, content: &[u8]) -> Result<(), StorageError> {
        run_files::replace(number(file)?, content)
    }

    fn gpu_devices(&self) -> Result<GpuInventory, String> {
        gpu::devices()
    }

    fn system_memory(&self) -> Result<SystemMemory, String> {
        system::usage()
    }
}
