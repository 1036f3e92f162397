//! Advisory locks of a run folder: `.live.lock`, which every process that logs holds shared, and
//! `.change.lock`, held for the moment in which the folder is opened, rotated or its manifest changed.
//! Both are empty and may be deleted while nothing runs. Where a file system knows no locks, logging goes
//! on without them.

use std::fs::{File, TryLockError};
use std::io;

use cap_std::fs::{Dir, OpenOptions};

/// A lock that is held until it is dropped.
pub(crate) struct Lock {
    _file: File,
}

fn open(dir: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    Ok(dir.open_with(name, &options)?.into_std())
}

/// Wait for the right to change the folder.
pub(crate) fn change(dir: &Dir) -> io::Result<Lock> {
    let file = open(dir, ".change.lock")?;
    match file.lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(Lock { _file: file }),
        Err(error) => Err(error),
    }
}

/// Take part in the run: whether this process is alone with it, and the lock that says it is there. The
/// caller holds [`change`], so that no two processes ask at once.
pub(crate) fn join(dir: &Dir) -> io::Result<(bool, Lock)> {
    let file = open(dir, ".live.lock")?;
    let alone = match file.try_lock() {
        Ok(()) => {
            file.unlock()?;
            true
        }
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => true,
    };
    let _ = file.lock_shared();
    Ok((alone, Lock { _file: file }))
}

/// Whether a process takes part in the run at present.
pub(crate) fn is_live(dir: &Dir) -> bool {
    // Trying takes the lock for a moment: no process may be joining then.
    let change = open_to_read(dir, ".change.lock");
    let _changing = change.as_ref().map(File::lock);
    is_live_now(dir)
}

/// The same for a caller that holds [`change`]: no process joins as long as it does.
pub(crate) fn is_live_now(dir: &Dir) -> bool {
    open_to_read(dir, ".live.lock")
        .is_some_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn open_to_read(dir: &Dir, name: &str) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    Some(dir.open_with(name, &options).ok()?.into_std())
}
