//! Advisory locks of a run folder.
//!
//! Every process that logs holds a shared lock on `.live.lock`. A process locks `.change.lock` for a moment
//! while it opens the folder, rotates a file or changes the manifest. Both files are empty; delete them only
//! when no run is active. On a file system without locks, logging works without them.

use std::fs::{File, TryLockError};
use std::io;

use cap_std::fs::{Dir, OpenOptions};

/// A lock that is held until it is dropped.
pub(crate) struct Lock {
    file: File,
    /// The id of the process that took it.
    process: u32,
}

impl Lock {
    fn of(file: File) -> Self {
        Self { file, process: std::process::id() }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread is just starting has it open too, until
        // it executes its program. But a forked child must not release its parent's lock.
        if self.process == std::process::id() {
            let _ = self.file.unlock();
        }
    }
}

/// Whether other processes log to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occupancy {
    /// No other process does.
    Alone,
    /// At least one other process does.
    Others,
    /// The file system does not support locks.
    Unknown,
}

/// Opens a lock file for reading and writing. On NFS a shared lock needs the former, an exclusive lock the
/// latter.
fn open(dir: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    Ok(dir.open_with(name, &options)?.into_std())
}

/// Waits for the exclusive lock to change the folder. On a file system without locks, returns at once.
pub(crate) fn change(dir: &Dir) -> io::Result<Lock> {
    let file = open(dir, ".change.lock")?;
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(()) | Err(_) => return Ok(Lock::of(file)),
        }
    }
}

/// Joins the run: returns whether other processes log to it, and the lock that marks this process as one that
/// does. The caller must hold the lock of [`change`], so that no two processes join at once.
pub(crate) fn join(dir: &Dir) -> io::Result<(Occupancy, Lock)> {
    let file = open(dir, ".live.lock")?;
    let occupancy = match file.try_lock() {
        Ok(()) => {
            file.unlock()?;
            Occupancy::Alone
        }
        Err(TryLockError::WouldBlock) => Occupancy::Others,
        Err(TryLockError::Error(_)) => Occupancy::Unknown,
    };
    let occupancy = if file.lock_shared().is_ok() { occupancy } else { Occupancy::Unknown };
    Ok((occupancy, Lock::of(file)))
}

/// Whether other processes log to the run at present.
pub(crate) fn occupancy(dir: &Dir) -> Occupancy {
    // The check takes the live lock for a moment, in which no process may join.
    let changing = open_existing(dir, ".change.lock").map(|file| {
        let _ = file.lock();
        Lock::of(file)
    });
    let occupancy = occupancy_now(dir);
    drop(changing);
    occupancy
}

/// Like [`occupancy`], for a caller that holds the lock of [`change`]. No process can join while it does.
pub(crate) fn occupancy_now(dir: &Dir) -> Occupancy {
    let Some(file) = open_existing(dir, ".live.lock") else { return Occupancy::Alone };
    match file.try_lock() {
        Ok(()) => {
            let _ = file.unlock();
            Occupancy::Alone
        }
        Err(TryLockError::WouldBlock) => Occupancy::Others,
        Err(TryLockError::Error(_)) => Occupancy::Unknown,
    }
}

/// Opens an existing lock file, also for writing if that is permitted.
fn open_existing(dir: &Dir, name: &str) -> Option<File> {
    let open = |write| {
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        dir.open_with(name, &options).ok()
    };
    open(true).or_else(|| open(false)).map(cap_std::fs::File::into_std)
}
