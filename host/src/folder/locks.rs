//! Advisory locks of a run folder.
//!
//! Every process that logs holds a shared lock on `.live.lock`. A process locks `.change.lock` for a moment
//! while it opens the folder, rotates a file or changes the manifest. Both files are empty and private to the user;
//! delete them only when no run is active. Every wait is bounded, and on a file system without locks logging works
//! without them.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};

/// How long a process that opens a run, or ends an attempt, waits for the lock to change the folder.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

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

/// The lock to change a folder, or why this process does not hold it.
pub(crate) enum Change {
    /// It is held until the lock is dropped.
    Held(#[expect(dead_code, reason = "it is held until it is dropped")] Lock),
    /// Another process held it for as long as this one waited. It is named if it is known.
    Busy(Option<Holder>),
    /// The file system does not support locks.
    Unsupported,
}

/// A process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) process: u32,
    pub(crate) program: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} ({})", self.process, self.program)
    }
}

/// Opens a lock file for reading and writing, which only this user may open: whoever can open it can hold the lock. On
/// NFS a shared lock needs the former, an exclusive lock the latter.
fn open(dir: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    let file = dir.open_with(name, &options)?.into_std();
    if file.metadata()?.mode() & 0o077 != 0 {
        // It is from an earlier version. Another user's file cannot be changed.
        let _ = rustix::fs::fchmod(&file, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    }
    Ok(file)
}

/// Waits for the exclusive lock to change the folder, but no longer than `patience`: a process that is stopped while
/// it holds the lock must not stop this one.
///
/// # Errors
///
/// If the lock file cannot be opened.
pub(crate) fn change(dir: &Dir, patience: Duration) -> io::Result<Change> {
    wait(open(dir, ".change.lock")?, patience)
}

fn wait(file: File, patience: Duration) -> io::Result<Change> {
    let began = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Change::Held(Lock::of(file))),
            Err(TryLockError::WouldBlock) if began.elapsed() < patience => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => return Ok(Change::Busy(holder(&file))),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(_)) => return Ok(Change::Unsupported),
        }
    }
}

/// The process that holds a lock on a file, as the kernel lists it; see proc_locks(5).
fn holder(file: &File) -> Option<Holder> {
    let metadata = file.metadata().ok()?;
    let device = metadata.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let place = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let process = locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = fields.iter().position(|field| *field == place)?;
        fields.get(at.checked_sub(1)?)?.parse().ok()
    })?;
    let program = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    Some(Holder { process, program: program.trim_end().to_owned() })
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
    let changing = open_existing(dir, ".change.lock").map(|file| wait(file, PATIENCE));
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
