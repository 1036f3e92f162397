//! Repairs a torn last line, as a power failure or a killed process leaves it.

use std::fs::File as StdFile;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use cap_std::fs::OpenOptions;
use model_foundry_types::{Part, part_of_name};

use super::Files;
use crate::folder::manifest::MANIFEST;
use crate::folder::replace::replaced_by;
use crate::folder::run_files::{FileId, Verified};

/// A torn last line that was moved out of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepairedTail {
    /// The file; its torn line is now in `<name>.torn`.
    pub(crate) name: String,
    /// The length of the torn line in bytes.
    pub(crate) bytes: u64,
}

impl Files {
    /// Repairs the last line of every log. If that fails, the first append finds the torn line again; it only
    /// starts a new line then, because other processes may have joined.
    pub(crate) fn repair_all(&mut self) {
        for file in FileId::all().filter(|file| file.get().verified != Verified::No) {
            let part = Part { rank: self.rank, rotated: 0 };
            if self.size(file, part).is_ok_and(|size| size > 0) {
                let _ = self.open(file);
            }
        }
        self.alone = false;
        self.remove_leftovers();
    }

    /// Removes the temporary files of processes that were killed while they replaced a file.
    fn remove_leftovers(&self) {
        let Ok(dir) = self.dir() else { return };
        for entry in dir.entries().into_iter().flatten().flatten() {
            let name = entry.file_name();
            let replaced = name.to_str().and_then(replaced_by);
            let is_ours = |name: &str| {
                let is_part = |file: FileId| part_of_name(file.get().name, name).is_some();
                name == MANIFEST || FileId::all().any(is_part)
            };
            if replaced.is_some_and(is_ours) {
                // A file that cannot be removed does no harm.
                let _ = dir.remove_file(&name);
            }
        }
    }

    /// Moves a torn last line to `<file>.torn`. If another process has the folder open, the tail may be its
    /// record in progress; then this returns true to ask for a leading newline instead.
    pub(super) fn repair_tail(
        &mut self,
        file: FileId,
        name: &str,
        opened: &StdFile,
    ) -> io::Result<bool> {
        let size = opened.metadata()?.len();
        let start = last_line_start(opened, size)?;
        if start == size {
            return Ok(false);
        }
        if !self.alone || file.get().verified == Verified::No {
            return Ok(self.alone || !ends_soon(opened, size)?);
        }
        if is_whole(opened, start, size) {
            // Only its newline is missing. Where it cannot be added, the next record begins with it.
            return Ok(self.disk.write(opened, b"\n").is_err());
        }
        let mut fragment = opened.try_clone()?;
        fragment.seek(SeekFrom::Start(start))?;
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        let mut torn = self.dir()?.open_with(format!("{name}.torn"), &options)?;
        // Copied in chunks, because it may be long: a power failure can leave a file's end full of zeros.
        io::copy(&mut fragment.take(size - start), &mut torn)?;
        torn.write_all(b"\n")?;
        // The line must be safe in its new place before it is removed from the old one.
        torn.sync_data()?;
        opened.set_len(start)?;
        self.repaired.push(RepairedTail { name: name.to_owned(), bytes: size - start });
        Ok(false)
    }
}

/// Whether a last line without a newline is a whole record.
fn is_whole(file: &StdFile, start: u64, end: u64) -> bool {
    /// A longer line is no record.
    const LARGEST: u64 = 32 << 20;
    let mut line = vec![0; end.saturating_sub(start).min(LARGEST) as usize];
    file.read_exact_at(&mut line, start).is_ok()
        && line.first() == Some(&b'{')
        && serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_ok()
}

/// Whether a last line without a newline is a record that another process is writing: it soon ends, or another one
/// follows it.
fn ends_soon(file: &StdFile, mut size: u64) -> io::Result<bool> {
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(1));
        let now = file.metadata()?.len();
        if last_line_start(file, now)? == now {
            return Ok(true);
        }
        if now == size {
            // Nothing is being written.
            return Ok(false);
        }
        size = now;
    }
    Ok(false)
}

/// Where the last line starts. If the file ends in a newline, that is the file's size.
pub(super) fn last_line_start(file: &StdFile, size: u64) -> io::Result<u64> {
    const CHUNK: u64 = 64 << 10;
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        let mut chunk = vec![0; (end - start) as usize];
        file.read_exact_at(&mut chunk, start)?;
        if let Some(at) = chunk.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
