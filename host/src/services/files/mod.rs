//! Appending to the files of one run folder, and reading them.
//!
//! The folder is one `cap_std` directory: no name leads out of it, and the names are a closed set. A
//! record is one `write(2)` on a descriptor opened with `O_APPEND`, so that the records of several
//! processes never mix. What a failing disk did not take waits in memory and is written with the next
//! record; what no longer fits there is refused, and counted.
//!
//! A file may be rotated, removed or replaced by another process while it is open here. Its name is checked again and
//! again, and what was appended to a file that no longer has the name is appended once more to the one that has it.

mod disk;
mod names;
mod pending;
mod repair;
mod rotating;

use std::fs::File as StdFile;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::Instant;

use cap_std::fs::Dir;
use model_foundry_types::{Part, StorageError};

pub use disk::Disk;
pub(crate) use disk::RealDisk;
use names::Tick;
use pending::Pending;
pub(crate) use repair::RepairedTail;

use crate::folder;
use crate::folder::replace::replace;
use crate::folder::run_files::{AttemptNames, Content, FileId, RUN_FILES};

/// What became of records that the disk did not take at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageTally {
    /// Appends that failed, whether or not the record was written later.
    pub failures: u64,
    /// Records that wait in memory for the disk.
    pub waiting: u64,
    /// Records that were lost, since no more could wait, or at the end.
    pub refused: u64,
    /// What the latest failure was.
    pub latest: Option<String>,
}

/// The files of one run folder.
pub(crate) struct Files {
    /// None where there is no folder, as for reading a configuration.
    dir: Option<Dir>,
    /// Where the folder is made again if it is deleted.
    path: Option<PathBuf>,
    /// What is appended goes nowhere, and nothing is there to be read.
    discards: bool,
    /// The rank whose shards this process appends to, if it has shards.
    rank: Option<u32>,
    /// Every append reaches the disk.
    synced: bool,
    /// No other process had the folder open when this one opened it: no torn end is a write in progress.
    alone: bool,
    disk: Box<dyn Disk>,
    writers: [Writer; RUN_FILES.len()],
    /// The latest file that was read: readers ask for one piece after another.
    reading: Option<(FileId, Part, StdFile)>,
    /// What the paths of this attempt's copies are made from; none if another process writes them.
    copies: Option<AttemptNames>,
    /// How many files of a rotated log to retain, as configured. A component cannot retain fewer.
    retained_files: u32,
    tally: StorageTally,
    repaired: Vec<RepairedTail>,
    appends: u64,
    /// Until when a log is not rotated, as another process holds the lock.
    rotation_postponed: Option<Instant>,
}

/// A file that is appended to.
#[derive(Default)]
struct Writer {
    open: Option<Open>,
    pending: Pending,
}

struct Open {
    file: StdFile,
    name: String,
    /// Device and inode: another process may have rotated the name away.
    identity: (u64, u64),
    /// The size after the latest append, as far as known.
    size: u64,
    /// The file does not end in a newline: the next record starts with one.
    mid_line: bool,
    /// When the name was last found to be that of the file.
    checked: Tick,
    /// What was appended since. The file may have lost its name before.
    unchecked: Vec<u8>,
}

impl Files {
    /// The files of a folder.
    pub(crate) fn new(dir: Dir, rank: Option<u32>, synced: bool, alone: bool) -> Self {
        Self::of(Some(dir), rank, synced, alone)
    }

    /// No files: every call is refused.
    pub(crate) fn nowhere() -> Self {
        Self::of(None, None, false, false)
    }

    /// No files: every append succeeds, and nothing is kept.
    pub(crate) fn discarding() -> Self {
        Self { discards: true, ..Self::nowhere() }
    }

    fn of(dir: Option<Dir>, rank: Option<u32>, synced: bool, alone: bool) -> Self {
        Self {
            dir,
            path: None,
            discards: false,
            rank,
            synced,
            alone,
            disk: Box::new(RealDisk),
            writers: Default::default(),
            reading: None,
            copies: None,
            retained_files: 1,
            tally: StorageTally::default(),
            repaired: Vec::new(),
            appends: 0,
            rotation_postponed: None,
        }
    }

    fn dir(&self) -> io::Result<&Dir> {
        self.dir.as_ref().ok_or_else(|| io::Error::other("there is no run folder here"))
    }

    /// Make the folder again at this path if it is deleted.
    pub(crate) fn recreate_at(&mut self, path: Option<PathBuf>) {
        self.path = path;
    }

    /// Use another disk.
    pub(crate) fn set_disk(&mut self, disk: Box<dyn Disk>) {
        self.disk = disk;
    }

    /// Sets how many files of a rotated log to retain.
    pub(crate) fn set_retained_files(&mut self, retained_files: u32) {
        self.retained_files = retained_files;
    }

    /// Let this process write the copies of an attempt.
    pub(crate) fn set_copies(&mut self, names: AttemptNames) {
        self.copies = Some(names);
    }

    /// The torn last lines that were repaired since the last call.
    pub(crate) fn take_repaired(&mut self) -> Vec<RepairedTail> {
        std::mem::take(&mut self.repaired)
    }

    /// How often something was appended, whether or not the disk took it at once.
    pub(crate) fn appends(&self) -> u64 {
        self.appends
    }

    /// What became of records that the disk did not take.
    pub(crate) fn tally(&self) -> StorageTally {
        let waiting = FileId::all().zip(&self.writers);
        let waiting = waiting.map(|(file, writer)| records(file, writer.pending.records())).sum();
        StorageTally { waiting, ..self.tally.clone() }
    }

    /// Append whole lines; the size of the file afterwards.
    pub(crate) fn append(
        &mut self,
        file: FileId,
        lines: &[u8],
        sync: bool,
    ) -> Result<u64, StorageError> {
        self.appends += 1;
        if self.discards {
            return Ok(0);
        }
        let appended = self.try_append(file, lines, sync || self.synced);
        appended.map_err(|error| self.note(file, &error))
    }

    fn try_append(&mut self, file: FileId, lines: &[u8], sync: bool) -> io::Result<u64> {
        let opened = self.open(file);
        let writer = &mut self.writers[file.number() as usize];
        let open = match (opened, &mut writer.open) {
            (Ok(()), Some(open)) => open,
            (Ok(()), None) => return Err(io::Error::other("the file was not opened")),
            (Err(error), _) => {
                self.tally.refused += records(file, writer.pending.hold(lines, 0));
                return Err(error);
            }
        };
        if std::mem::take(&mut open.mid_line) {
            writer.pending.begin_line();
        }
        // What waits goes first, by itself: with it a large record might be too much to wait.
        if !writer.pending.is_empty() {
            if let Err(error) = writer.pending.write(&mut *self.disk, &open.file) {
                self.tally.refused += records(file, writer.pending.hold(lines, 0));
                return Err(error);
            }
            open.size = open.file.metadata()?.len();
        }
        let (written, result) = write_all(&mut *self.disk, &open.file, lines);
        open.size += written as u64;
        if result.is_ok() && !file.get().rotates && is_lines(file) {
            open.unchecked.extend_from_slice(lines);
        }
        if let Err(error) = result {
            self.tally.refused += records(file, writer.pending.hold(lines, written));
            writer.pending.expect_end(&open.file);
            return Err(error);
        }
        if file.get().rotates {
            let metadata = open.file.metadata()?;
            open.size = metadata.len();
            if metadata.nlink() == 0 {
                // Rotated and pruned away by another process since it was opened: write it again.
                writer.open = None;
                return self.try_append(file, lines, sync);
            }
        }
        if sync {
            self.disk.sync(&open.file)?;
        }
        Ok(open.size)
    }

    /// Append bytes to a file that is not lines.
    pub(crate) fn append_bytes(&mut self, file: FileId, bytes: &[u8]) -> Result<(), StorageError> {
        self.append(file, bytes, false).map(drop)
    }

    /// At most `length` bytes of a part from `offset` on.
    pub(crate) fn read(
        &mut self,
        file: FileId,
        part: Part,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, StorageError> {
        /// What one call may ask for: the component's memory is bounded too.
        const MOST: u32 = 16 << 20;
        let name = file.part(part);
        if !matches!(&self.reading, Some((known, p, _)) if (*known, *p) == (file, part)) {
            let opened = self.dir().and_then(|dir| names::open_to_read(dir, &name));
            let opened = opened.map_err(|error| read_error(&name, &error))?;
            self.reading = Some((file, part, opened));
        }
        let Some((_, _, opened)) = &self.reading else { return Err(StorageError::NotFound) };
        let mut bytes = vec![0; length.min(MOST) as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match opened.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(&name, &error)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// A part's size in bytes; 0 where there is none.
    pub(crate) fn size(&mut self, file: FileId, part: Part) -> Result<u64, StorageError> {
        // The name may belong to another file by now.
        self.reading = None;
        let name = file.part(part);
        match self.dir().and_then(|dir| dir.metadata(&name)) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(read_error(&name, &error)),
        }
    }

    /// Which parts of a file exist.
    pub(crate) fn parts(&self, file: FileId) -> Result<Vec<Part>, StorageError> {
        if self.discards {
            return Ok(Vec::new());
        }
        let parts = self.dir().and_then(|dir| folder::parts(dir, file));
        parts.map_err(|error| read_error("the run folder", &error))
    }

    /// Replace a file's content at once.
    pub(crate) fn replace(&mut self, file: FileId, content: &[u8]) -> Result<(), StorageError> {
        let name = file.part(self.own_part());
        let replaced = self.dir().and_then(|dir| replace(dir, &name, content));
        replaced.map_err(|error| self.note(file, &error))
    }

    /// Bring everything that was appended to the disk.
    pub(crate) fn sync(&mut self) -> Result<(), StorageError> {
        let mut first = None;
        for file in FileId::all() {
            let _ = self.check_name(file, true);
            let opened = self.open_pending(file);
            let writer = &mut self.writers[file.number() as usize];
            let synced = opened.and_then(|()| {
                let Some(open) = &writer.open else { return Ok(()) };
                writer.pending.write(&mut *self.disk, &open.file)?;
                self.disk.sync(&open.file)
            });
            if let Err(error) = synced {
                first.get_or_insert((file, error));
            }
        }
        match first {
            None => Ok(()),
            Some((file, error)) => Err(self.note(file, &error)),
        }
    }

    /// Try once more to write what waits; what still cannot be written is refused.
    pub(crate) fn close(&mut self) {
        for file in FileId::all() {
            let _ = self.open_pending(file);
            let _ = self.check_name(file, true);
            let named = self.own_name(file).unwrap_or_default();
            let writer = &mut self.writers[file.number() as usize];
            if let Some(open) = &mut writer.open {
                if !writer.pending.is_empty() && std::mem::take(&mut open.mid_line) {
                    writer.pending.begin_line();
                }
                if let Err(error) = writer.pending.write(&mut *self.disk, &open.file) {
                    self.tally.latest = Some(storage_error(&named, &error).to_string());
                }
            }
            self.tally.refused += records(file, writer.pending.give_up());
            writer.open = None;
        }
    }

    fn open_pending(&mut self, file: FileId) -> io::Result<()> {
        if self.writers[file.number() as usize].pending.is_empty() {
            Ok(())
        } else {
            self.open(file)
        }
    }

    /// The part that this process appends to.
    fn own_part(&self) -> Part {
        Part { rank: self.rank, rotated: 0 }
    }

    /// The name of the file that this process appends to.
    fn own_name(&self, file: FileId) -> io::Result<String> {
        match (file.get().content, &self.copies) {
            (Content::Copy(path), Some(names)) => Ok(names.path(path)),
            (Content::Copy(_), None) => Err(io::Error::other("this process writes no copies")),
            _ => Ok(file.part(self.own_part())),
        }
    }

    /// Count a failure and put it into words.
    fn note(&mut self, file: FileId, error: &io::Error) -> StorageError {
        let name = self.own_name(file).unwrap_or_default();
        let error = storage_error(&name, error);
        self.tally.failures += 1;
        self.tally.latest = Some(error.to_string());
        error
    }
}

/// Whether a file consists of lines.
fn is_lines(file: FileId) -> bool {
    file.get().content == Content::Lines
}

/// How many records of a file so many lines are: the Weights & Biases log is no lines.
fn records(file: FileId, lines: u64) -> u64 {
    if is_lines(file) { lines } else { 0 }
}

/// Write all bytes; how many were written, and what stopped it if not all were.
fn write_all(disk: &mut dyn Disk, file: &StdFile, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match disk.write(file, &bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// An error of reading in the words of a person who has to mend it.
fn read_error(name: &str, error: &io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::NotFound => StorageError::NotFound,
        io::ErrorKind::PermissionDenied => StorageError::Other(format!(
            "{name}: it may not be read ({error}); a run folder is private to the user who made it"
        )),
        _ => StorageError::Other(format!("{name}: {error}")),
    }
}

/// An error of writing in the words of a person who has to mend it.
fn storage_error(name: &str, error: &io::Error) -> StorageError {
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => StorageError::NotFound,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StorageError::Full(format!("{name}: the disk is full ({error}); free some space"))
        }
        ErrorKind::FileTooLarge => StorageError::Full(format!(
            "{name}: the file reached its size limit ({error}); raise `ulimit -f`"
        )),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            StorageError::ReadOnly(format!("{name}: it may not be written ({error})"))
        }
        _ => StorageError::Other(format!("{name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_read_is_not_said_to_be_unwritable() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let read = read_error("metrics.jsonl", &denied).to_string();
        assert!(read.starts_with("metrics.jsonl: it may not be read"), "{read}");
        let written = storage_error("metrics.jsonl", &denied).to_string();
        assert!(written.starts_with("metrics.jsonl: it may not be written"), "{written}");
    }
}
