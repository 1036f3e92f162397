//! The system calls that can fail half-way, behind a trait: a test puts a failing disk in their place.

use std::fs::File;
use std::io;

/// Writes bytes and brings them to the disk.
pub trait Disk: Send {
    /// Write some of the bytes, as `write(2)` does; how many.
    fn write(&mut self, file: &File, bytes: &[u8]) -> io::Result<usize>;
    /// Bring the file's content to the disk, as `fdatasync(2)` does.
    fn sync(&mut self, file: &File) -> io::Result<()>;
}

/// The disk itself.
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    /// The system call itself: the C library's write is a place where a thread may be cancelled, which costs
    /// each record some 40 ns in a process with threads.
    fn write(&mut self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(file, bytes)?)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
