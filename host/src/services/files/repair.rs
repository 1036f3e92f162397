//! Repairs a torn last line, as a power failure or a killed process leaves it.

use std::fs::File as StdFile;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use cap_std::fs::OpenOptions;
use model_foundry_types::Part;

use super::Files;
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
            let temporary = name.to_str().and_then(|name| name.rsplit_once(".new-"));
            if temporary.is_some_and(|(_, pid)| pid.bytes().all(|byte| byte.is_ascii_digit())) {
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
            return Ok(true);
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
