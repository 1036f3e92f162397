//! The names of open files: whether a file still has its name, and what is done if not.

use std::fs::File as StdFile;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use rustix::time::{ClockId, clock_gettime};

use super::{Files, Open, is_lines, repair, write_all};
use crate::folder::run_files::FileId;

/// A reading of the kernel's coarse clock, which advances every few milliseconds and costs a few nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick(i64, i64);

impl Tick {
    fn now() -> Self {
        let time = clock_gettime(ClockId::MonotonicCoarse);
        Self(time.tv_sec, time.tv_nsec)
    }
}

/// After how many bytes of lines a name is checked, however recent the latest check is.
const MOST_UNCHECKED: usize = 32 << 10;

/// Never through a symbolic link, and never waiting for the other end of a FIFO.
const FLAGS: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

/// Open a regular file to read it.
pub(super) fn open_to_read(dir: &Dir, name: &str) -> io::Result<StdFile> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(FLAGS);
    regular(dir.open_with(name, &options)?.into_std())
}

fn regular(file: StdFile) -> io::Result<StdFile> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

impl Files {
    /// Check that the files which this process appends to are regular files, if they exist: a record must not go
    /// through a symbolic link, nor into a FIFO or a device. The name of the first that is not, and what it is.
    pub(crate) fn check_kinds(&self) -> Result<(), (String, String)> {
        for file in FileId::all() {
            let (Ok(name), Ok(dir)) = (self.own_name(file), self.dir()) else { continue };
            let Ok(metadata) = dir.symlink_metadata(&name) else { continue };
            let kind = metadata.file_type();
            if !kind.is_file() {
                let what = if kind.is_symlink() {
                    "a symbolic link"
                } else if kind.is_dir() {
                    "a folder"
                } else {
                    "a FIFO, a socket or a device"
                };
                let problem = format!("this is {what}, and must be a regular file: move it away");
                return Err((name, problem));
            }
        }
        Ok(())
    }

    /// Have the file open under its name.
    pub(super) fn open(&mut self, file: FileId) -> io::Result<()> {
        self.check_name(file, false)?;
        if self.writers[file.number() as usize].open.is_some() {
            return Ok(());
        }
        let name = self.own_name(file)?;
        let opened = match self.create(&name) {
            // The folder was deleted.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.recreate() => {
                self.create(&name)?
            }
            opened => opened?,
        };
        let mid_line = if is_lines(file) { self.repair_tail(file, &name, &opened)? } else { false };
        let metadata = opened.metadata()?;
        let open = Open {
            name,
            identity: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            mid_line,
            file: opened,
            checked: Tick::now(),
            unchecked: Vec::with_capacity(if file.get().rotates { 0 } else { 2 * MOST_UNCHECKED }),
        };
        self.writers[file.number() as usize].open = Some(open);
        Ok(())
    }

    /// Open a file to append to it. It is created if it is missing.
    fn create(&self, name: &str) -> io::Result<StdFile> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).read(true).custom_flags(FLAGS);
        let dir = self.dir()?;
        let is_new = self.synced && !dir.exists(name);
        let opened = match dir.open_with(name, &options) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && name.contains('/') => {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                dir.create_dir_all(folder)?;
                dir.open_with(name, &options)?
            }
            opened => opened?,
        };
        if is_new {
            // A file is safe when its folder names it.
            dir.open(".")?.into_std().sync_all()?;
        }
        regular(opened.into_std())
    }

    /// Make the folder again, which was deleted. False if that is not possible.
    fn recreate(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        let made = std::fs::create_dir_all(path)
            .and_then(|()| Dir::open_ambient_dir(path, ambient_authority()));
        match made {
            Ok(dir) => {
                self.dir = Some(dir);
                self.reading = None;
                true
            }
            Err(_) => false,
        }
    }

    /// Check that an open file still has its name, and close it if not: the next append opens the name again. The name
    /// of a log that rotates is checked at each append, that of another file every few milliseconds; what was appended
    /// to the latter since waits to be appended again. `now` checks it in any case.
    pub(super) fn check_name(&mut self, file: FileId, now: bool) -> io::Result<()> {
        let tick = Tick::now();
        let Some(open) = &self.writers[file.number() as usize].open else { return Ok(()) };
        // A copy for another tool cannot be continued in another file.
        let is_recent = open.checked == tick && open.unchecked.len() < MOST_UNCHECKED;
        if !is_lines(file) || (!file.get().rotates && is_recent && !now) {
            return Ok(());
        }
        let named = self.dir()?.symlink_metadata(&open.name);
        let writer = &mut self.writers[file.number() as usize];
        let Some(open) = &mut writer.open else { return Ok(()) };
        match named {
            Ok(named) if (named.dev(), named.ino()) == open.identity => {
                if named.len() < open.size {
                    // It was truncated, perhaps in the middle of a line.
                    open.size = named.len();
                    open.mid_line = repair::last_line_start(&open.file, named.len())? < named.len();
                }
                open.checked = tick;
                open.unchecked.clear();
                return Ok(());
            }
            // Its state is unknown: the open file is the best choice.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Ok(()),
            _ => {}
        }
        // What is half written stays with the old file.
        let _ = writer.pending.finish_record(&mut *self.disk, &open.file);
        writer.pending.start_over();
        let unchecked = std::mem::take(&mut open.unchecked);
        writer.open = None;
        if !unchecked.is_empty() {
            self.append_again(file, &unchecked);
        }
        Ok(())
    }

    /// Append once more what went to a file that had lost its name.
    fn append_again(&mut self, file: FileId, lines: &[u8]) {
        let appended = self.open(file).and_then(|()| {
            let writer = &mut self.writers[file.number() as usize];
            let Some(open) = &mut writer.open else { return Ok((0, Ok(()))) };
            if std::mem::take(&mut open.mid_line) {
                writer.pending.begin_line();
                writer.pending.write(&mut *self.disk, &open.file)?;
            }
            let (written, result) = write_all(&mut *self.disk, &open.file, lines);
            open.size += written as u64;
            Ok((written, result))
        });
        let (written, error) = match appended {
            Ok((_, Ok(()))) => return,
            Ok((written, Err(error))) => (written, error),
            Err(error) => (0, error),
        };
        let writer = &mut self.writers[file.number() as usize];
        self.tally.refused += super::records(file, writer.pending.hold(lines, written));
        if let Some(open) = &writer.open {
            writer.pending.expect_end(&open.file);
        }
        self.note(file, &error);
    }
}
