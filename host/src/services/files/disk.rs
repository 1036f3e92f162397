//! The system calls that can fail midway, behind a trait, so that a test can replace them by a failing disk.

use std::fs::File;
use std::io;

/// Writes to files.
pub trait Disk: Send {
    /// Writes some of the bytes, like `write(2)`, and returns how many.
    ///
    /// # Errors
    ///
    /// Those of `write(2)`.
    fn write(&mut self, file: &File, bytes: &[u8]) -> io::Result<usize>;

    /// Flushes the file's content to the disk, like `fdatasync(2)`.
    ///
    /// # Errors
    ///
    /// Those of `fdatasync(2)`.
    fn sync(&mut self, file: &File) -> io::Result<()>;
}

/// The operating system's calls.
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    /// Makes the system call directly. The C library's `write` is a cancellation point, which costs each record
    /// about 40 ns in a process with threads.
    fn write(&mut self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(file, bytes)?)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
