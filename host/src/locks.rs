//! Advisory locks of a run folder: `.live.lock`, which every process that logs holds shared, and
//! `.change.lock`, held for the moment in which the folder is opened, rotated or its manifest changed.
//! Both are empty and may be deleted while nothing runs. Where a file system knows no locks, logging goes
//! on without them.

use std::fs::{File, TryLockError};
use std::io;

use cap_std::fs::{Dir, OpenOptions};

/// A lock that is held until it is dropped.
pub(crate) struct Lock {
    file: File,
    /// Who took it.
    process: u32,
}

impl Lock {
    fn of(file: File) -> Self {
        Self { file, process: std::process::id() }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread is just starting has it too, until
        // it executes its program. A copy of this process, on the other hand, must not give up what it
        // never took.
        if self.process == std::process::id() {
            let _ = self.file.unlock();
        }
    }
}

/// Who else takes part in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    /// Nobody.
    Alone,
    /// Other processes.
    Others,
    /// The file system knows no locks.
    Unknown,
}

/// Readable and writable: on NFS a shared lock needs the one, an exclusive lock the other.
fn open(dir: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    Ok(dir.open_with(name, &options)?.into_std())
}

/// Wait for the right to change the folder. Where there are no locks there is nothing to wait for.
pub(crate) fn change(dir: &Dir) -> io::Result<Lock> {
    let file = open(dir, ".change.lock")?;
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(()) | Err(_) => return Ok(Lock::of(file)),
        }
    }
}

/// Take part in the run: who else does, and the lock that says that this process does. The caller holds
/// [`change`], so that no two processes ask at once.
pub(crate) fn join(dir: &Dir) -> io::Result<(Company, Lock)> {
    let file = open(dir, ".live.lock")?;
    let company = match file.try_lock() {
        Ok(()) => {
            file.unlock()?;
            Company::Alone
        }
        Err(TryLockError::WouldBlock) => Company::Others,
        Err(TryLockError::Error(_)) => Company::Unknown,
    };
    let company = if file.lock_shared().is_ok() { company } else { Company::Unknown };
    Ok((company, Lock::of(file)))
}

/// Who takes part in the run at present.
pub(crate) fn company(dir: &Dir) -> Company {
    // Trying takes the lock for a moment: no process may be joining then.
    let changing = open_existing(dir, ".change.lock").map(|file| {
        let _ = file.lock();
        Lock::of(file)
    });
    let company = company_now(dir);
    drop(changing);
    company
}

/// The same for a caller that holds [`change`]: no process joins as long as it does.
pub(crate) fn company_now(dir: &Dir) -> Company {
    let Some(file) = open_existing(dir, ".live.lock") else { return Company::Alone };
    match file.try_lock() {
        Ok(()) => {
            let _ = file.unlock();
            Company::Alone
        }
        Err(TryLockError::WouldBlock) => Company::Others,
        Err(TryLockError::Error(_)) => Company::Unknown,
    }
}

/// Open a lock that is there, to be written if that is allowed.
fn open_existing(dir: &Dir, name: &str) -> Option<File> {
    let open = |write| {
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        dir.open_with(name, &options).ok()
    };
    open(true).or_else(|| open(false)).map(cap_std::fs::File::into_std)
}
