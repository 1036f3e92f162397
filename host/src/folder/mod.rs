//! The run folder on the disk: its files' names, its locks and its manifest. Nothing here starts a component.

pub(crate) mod locks;
pub(crate) mod manifest;
pub(crate) mod members;
pub(crate) mod network;
pub(crate) mod replace;
pub(crate) mod run_files;
pub(crate) mod runs;

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use model_foundry_types::{Part, part_of_name};

use self::manifest::{MANIFEST, Manifest, Status};
use self::run_files::{Content, FileId};
use crate::{Error, Result};

/// A folder that holds a run, opened to be read. Reading run.json through it starts no component.
#[derive(Debug)]
pub struct RunFolder {
    dir: Dir,
    path: PathBuf,
}

impl RunFolder {
    /// Open a run folder.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if the folder does not exist, or holds no run.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let dir = Dir::open_ambient_dir(&path, ambient_authority()).map_err(|error| {
            let problem = match error.kind() {
                io::ErrorKind::NotFound => "no such run folder".to_owned(),
                io::ErrorKind::NotADirectory => "not a folder".to_owned(),
                _ => format!("cannot open the run folder: {error}"),
            };
            Error::path(&path, problem)
        })?;
        let is_data = |file: &FileId| file.get().content == Content::Lines;
        let has_data = || {
            FileId::all().filter(is_data).any(|file| parts(&dir, file).is_ok_and(|p| !p.is_empty()))
        };
        if !dir.exists(MANIFEST) && !has_data() {
            return Err(Error::path(&path, "no run in this folder (run.json is missing)"));
        }
        Ok(Self { dir, path })
    }

    /// A folder that this process has open.
    pub(crate) fn of_open(dir: &Dir, path: &Path) -> Result<Self> {
        let dir = dir.try_clone().map_err(|error| Error::path(path, error))?;
        Ok(Self { dir, path: path.to_owned() })
    }

    /// The same folder, opened again: where it is now, or at its path if it was deleted there and created again. None if
    /// there is none.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn again(&self) -> Result<Option<Self>> {
        let path = self.current_path();
        if path.exists() { Self::open(path).map(Some) } else { Ok(None) }
    }

    /// The folder's path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the folder is now: another path than [`path`](Self::path) if it was moved or renamed.
    pub fn current_path(&self) -> PathBuf {
        current_path(&self.dir).unwrap_or_else(|| self.path.clone())
    }

    /// The version of the folder's format, if it is newer than [`FORMAT_VERSION`](crate::FORMAT_VERSION): what is read
    /// may then be incomplete, and the folder is not repaired.
    pub fn newer_format(&self) -> Option<u32> {
        manifest::newer_version(&self.dir)
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// A second handle of the folder.
    pub(crate) fn try_clone_dir(&self) -> Result<Dir> {
        self.dir.try_clone().map_err(|error| Error::path(&self.path, error))
    }

    /// run.json; `None` if it does not exist. An attempt that is marked as running while no process has the folder
    /// open is reported as [`Status::Died`].
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if it cannot be read.
    pub fn manifest(&self) -> Result<Option<Manifest>> {
        let manifest = Manifest::read(&self.dir)
            .map_err(|error| Error::path(self.path.join(MANIFEST), error))?;
        Ok(manifest.map(|mut manifest| {
            if let Some(latest) = manifest.attempts.last_mut()
                && latest.status == Status::Running
                && locks::occupancy(&self.dir) == locks::Occupancy::Alone
            {
                latest.status = Status::Died;
            }
            manifest
        }))
    }
}

/// The path of an open folder now; none where the system does not say, and if the folder was deleted.
pub(crate) fn current_path(dir: &Dir) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).ok()?;
    path.is_dir().then_some(path)
}

/// The parts of a file that a folder holds: those of the shared file, then those of each rank, each from the oldest.
pub(crate) fn parts(dir: &Dir, file: FileId) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for entry in dir.entries()? {
        let name = entry?.file_name();
        parts.extend(name.to_str().and_then(|name| part_of_name(file.get().name, name)));
    }
    parts.sort_by_key(|part| (part.rank, std::cmp::Reverse(part.rotated)));
    Ok(parts)
}
