//! A last line that was cut off, by a power cut or a killed process.

use std::fs::File as StdFile;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use cap_std::fs::OpenOptions;
use model_foundry_guest::imports::{File, Part};

use super::Files;

/// A fragment that was moved out of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Healed {
    /// The file it was cut from; the fragment is in `<name>.torn`.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) bytes: u64,
}

impl Files {
    /// Look at the end of every log that is there. What cannot be healed now is met again by the first
    /// append, which only starts a line of its own: other processes may have joined by then.
    pub(crate) fn heal_all(&mut self) {
        for file in [File::MainLog, File::Metrics, File::Errors, File::Performance] {
            let part = Part { rank: self.rank, rotated: 0 };
            if self.size(file, part).is_ok_and(|size| size > 0) {
                let _ = self.open(file);
            }
        }
        self.alone = false;
        self.remove_leftovers();
    }

    /// Remove what a process that was killed while it replaced a file left of the new one.
    fn remove_leftovers(&self) {
        let Ok(dir) = self.dir() else { return };
        for entry in dir.entries().into_iter().flatten().flatten() {
            let name = entry.file_name();
            let temporary = name.to_str().and_then(|name| name.rsplit_once(".new-"));
            if temporary.is_some_and(|(_, pid)| pid.bytes().all(|byte| byte.is_ascii_digit())) {
                // What stays is in nobody's way.
                let _ = dir.remove_file(&name);
            }
        }
    }

    /// Move a torn last line to `<file>.torn`. Where other processes have the folder open, the end may be
    /// theirs: then the next record starts on a line of its own, which true asks for.
    pub(super) fn heal(&mut self, file: File, name: &str, opened: &StdFile) -> io::Result<bool> {
        let size = opened.metadata()?.len();
        let start = last_line_start(opened, size)?;
        if start == size {
            return Ok(false);
        }
        if !self.alone || file == File::Console {
            return Ok(true);
        }
        let mut fragment = opened.try_clone()?;
        fragment.seek(SeekFrom::Start(start))?;
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        let mut torn = self.dir()?.open_with(format!("{name}.torn"), &options)?;
        // It may be long: a power cut can leave a file's end full of zeros.
        io::copy(&mut fragment.take(size - start), &mut torn)?;
        torn.write_all(b"\n")?;
        // The fragment is safe before it goes from where it was.
        torn.sync_data()?;
        opened.set_len(start)?;
        self.healed.push(Healed { name: name.to_owned(), bytes: size - start });
        Ok(false)
    }
}

/// Where the last line starts; the file's size where it ends in a newline.
pub(super) fn last_line_start(file: &StdFile, size: u64) -> io::Result<u64> {
    const PIECE: u64 = 64 << 10;
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(PIECE);
        let mut piece = vec![0; (end - start) as usize];
        file.read_exact_at(&mut piece, start)?;
        if let Some(at) = piece.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
