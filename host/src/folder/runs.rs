//! The folder of runs: each start is a run with a folder of its own.
//!
//! The first run of an experiment is in `<runs-dir>/<experiment>`, the next in `<experiment>-2`, and so on. A run's
//! folder is created by one mkdir(2), so that no two starts can have the same. The processes of one job find the
//! job's run by a file in `<runs-dir>/.jobs-<user>`, which is created by one link(2), so that only one process can do
//! it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::locks::{self, Change};
use super::manifest::Manifest;
use crate::{Error, Result};

/// How long a process waits for another one of its job that looks for the job's run.
const PATIENCE: Duration = Duration::from_secs(1);

/// A folder of runs.
#[derive(Clone, Debug)]
pub(crate) struct RunsDir {
    path: PathBuf,
    /// The permissions of a run folder.
    mode: u32,
}

impl RunsDir {
    pub(crate) fn new(path: impl Into<PathBuf>, mode: u32) -> Self {
        Self { path: path.into(), mode }
    }

    /// The folder with the files by which the processes of a job find their run. Several users may share a folder of
    /// runs.
    fn jobs(&self) -> PathBuf {
        self.path.join(format!(".jobs-{}", rustix::process::getuid().as_raw()))
    }

    /// Wait until no other process of a job looks for the job's run, so that no two create a folder for it. Without the
    /// lock the one that is slower removes its folder.
    pub(crate) fn lock_jobs(&self) -> Option<Change> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.jobs()).ok()?;
        let dir = Dir::open_ambient_dir(self.jobs(), ambient_authority()).ok()?;
        locks::change(&dir, PATIENCE).ok()
    }

    /// Create a folder for a new run of an experiment.
    pub(crate) fn create_run(&self, experiment: &str) -> Result<PathBuf> {
        let name = folder_name(experiment)?;
        let failed = |path: &Path, error: &io::Error| {
            Error::path(path, format!("cannot create the run folder: {error}"))
        };
        fs::create_dir_all(&self.path).map_err(|error| failed(&self.path.join(name), &error))?;
        // A number that was used is not used again while a later one is there.
        let mut number = self.numbers(name).max().map_or(1, |number| number + 1);
        loop {
            let folder = match number {
                1 => self.path.join(name),
                _ => self.path.join(format!("{name}-{number}")),
            };
            match fs::DirBuilder::new().mode(self.mode).create(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(failed(&folder, &error)),
            }
        }
    }

    /// The newest run of an experiment, by the start of its latest attempt.
    pub(crate) fn newest(&self, experiment: &str) -> Option<PathBuf> {
        let name = folder_name(experiment).ok()?;
        let folders = self.numbers(name).map(|number| match number {
            1 => self.path.join(name),
            _ => self.path.join(format!("{name}-{number}")),
        });
        let started = |folder: &PathBuf| {
            let manifest = manifest(folder)?;
            (manifest.experiment == experiment)
                .then(|| manifest.latest().map(|attempt| attempt.start.clone()))
        };
        folders
            .filter_map(|folder| Some((started(&folder)?, folder)))
            .max()
            .map(|(_, folder)| folder)
    }

    /// The run that a user means: the path of its folder, the folder's name in this one, or the run's id.
    pub(crate) fn find(&self, run: &str) -> Option<PathBuf> {
        let is_run = |folder: &PathBuf| folder.join(super::manifest::MANIFEST).exists();
        let named = (!run.contains('/')).then(|| self.path.join(run));
        let at_path = || Some(PathBuf::from(run)).filter(|_| !run.is_empty());
        let with_id = || {
            let entries = fs::read_dir(&self.path).ok()?.flatten();
            entries.map(|entry| entry.path()).find(|folder| {
                manifest(folder).is_some_and(|manifest| manifest.id.as_deref() == Some(run))
            })
        };
        named.filter(is_run).or_else(|| at_path().filter(is_run)).or_else(with_id)
    }

    /// The run that the processes of a job log to: the latest that one of them has claimed.
    pub(crate) fn of_job(&self, experiment: &str, job: &str) -> JobRun {
        let mut generation = 1;
        let mut latest = None;
        while let Ok(name) = fs::read_to_string(self.claim(experiment, job, generation)) {
            latest = Some(self.path.join(name.trim_end()));
            generation += 1;
        }
        // The run may have been deleted since.
        JobRun { folder: latest.filter(|folder| folder.is_dir()), next: generation }
    }

    /// Claim a folder that this process has created for its job. If another process was faster, its folder is
    /// returned, and this one is removed.
    pub(crate) fn claim_for_job(
        &self,
        experiment: &str,
        job: &str,
        generation: u32,
        folder: PathBuf,
    ) -> Result<PathBuf> {
        let claim = self.claim(experiment, job, generation);
        let failed = |error: io::Error| Error::path(&claim, format!("cannot write it: {error}"));
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        fs::create_dir_all(self.jobs()).map_err(failed)?;
        let temporary = self.jobs().join(format!(".{name}.{}", std::process::id()));
        fs::write(&temporary, format!("{name}\n")).map_err(failed)?;
        let linked = fs::hard_link(&temporary, &claim);
        let _ = fs::remove_file(&temporary);
        match linked {
            Ok(()) => Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // It is empty: no process knows of it.
                let _ = fs::remove_dir(&folder);
                let name = fs::read_to_string(&claim).map_err(failed)?;
                Ok(self.path.join(name.trim_end()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn claim(&self, experiment: &str, job: &str, generation: u32) -> PathBuf {
        let plain =
            |c: char| if c.is_ascii_alphanumeric() || "=.-_,".contains(c) { c } else { '_' };
        let mut name: String = format!("{experiment}@{job}").chars().map(plain).take(150).collect();
        // Different texts may have the same plain characters.
        let hash = crc32fast::hash(format!("{experiment}\0{job}").as_bytes());
        name.push_str(&format!(".{hash:08x}.{generation}"));
        self.jobs().join(name)
    }

    /// The numbers of an experiment's folders that exist. That of the first, which has no number, is 1.
    fn numbers(&self, name: &str) -> impl Iterator<Item = u64> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.filter_map(move |entry| match entry.file_name().to_str()?.strip_prefix(name)? {
            "" => Some(1),
            rest => rest.strip_prefix('-')?.parse().ok().filter(|number| *number > 1),
        })
    }
}

/// The run of a job.
pub(crate) struct JobRun {
    /// Its folder, if there is one.
    pub(crate) folder: Option<PathBuf>,
    /// The generation to claim for another run of the job.
    pub(crate) next: u32,
}

/// The manifest of a folder; none if there is none that can be read.
fn manifest(folder: &Path) -> Option<Manifest> {
    let dir = Dir::open_ambient_dir(folder, ambient_authority()).ok()?;
    Manifest::read(&dir).ok()?
}

/// The folder of an experiment's first run: its name, if it can name a folder.
pub(crate) fn folder_name(experiment: &str) -> Result<&str> {
    let usable = !experiment.is_empty()
        && experiment.len() <= 200
        && !experiment.starts_with('.')
        && !experiment.contains(|c: char| c.is_control() || matches!(c, '/' | '\\'));
    if usable {
        Ok(experiment)
    } else {
        Err(Error::Invalid(format!(
            "the experiment name {experiment:?} cannot name a folder: use 1 to 200 bytes, no slashes, no \
             leading dot"
        )))
    }
}
