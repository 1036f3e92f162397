//! Going on in a process that was forked from the one that opened the run.
//!
//! Of the parent's threads only the one that forked is there, and every lock is as it was: whatever the
//! parent had open is left alone. The child opens the folder for itself and takes part in the attempt that
//! is under way, as any other process of the run does.

use std::mem;
use std::path::PathBuf;

use model_foundry_guest::config::LoggingConfig;

use super::{Run, RunBuilder};
use crate::Result;
use crate::runtime::Runtime;

/// What a forked process needs to open a run that its parent has open. Taken before the fork, as the
/// parent's locks may be held afterwards.
#[derive(Clone, Debug)]
pub struct Heritage {
    pub(super) folder: PathBuf,
    pub(super) experiment: String,
    pub(super) config: LoggingConfig,
    pub(super) rank: Option<u32>,
    pub(super) shards: bool,
    pub(super) git_hash: String,
    pub(super) device: String,
    pub(super) seen: Option<Vec<String>>,
    pub(super) nvml: Option<PathBuf>,
}

impl Run {
    /// What a process that is forked from this one needs to go on with the run.
    pub fn heritage(&self) -> Heritage {
        let manifest = self.inner.manifest.lock();
        Heritage {
            folder: self.inner.folder.clone(),
            experiment: manifest.experiment.clone(),
            config: self.inner.config.clone(),
            rank: self.inner.rank,
            shards: self.inner.shards,
            git_hash: manifest.git_hash.clone(),
            device: manifest.device.clone(),
            seen: self.inner.sampler.lock().seen().cloned(),
            nvml: self.inner.nvml.clone(),
        }
    }

    /// In a process that was forked from the one that opened this run: let go of it without ending the
    /// attempt, and without a lock that would have readers think that the parent lives. Whatever else came
    /// from the run must be forgotten ([`std::mem::forget`]) and not dropped.
    pub fn abandon(self) {
        drop(self.inner.live.lock().take());
        mem::forget(self);
    }
}

impl Heritage {
    /// Open the run in the forked process. It takes part in the parent's attempt, and never ends it.
    ///
    /// # Errors
    ///
    /// As [`RunBuilder::open`].
    pub fn open(&self, runtime: &Runtime) -> Result<Run> {
        let mut builder = RunBuilder::new(&self.experiment)
            .folder(&self.folder)
            .config(self.config.clone())
            .shards(self.shards)
            .runtime(runtime.clone());
        builder.rank = self.rank;
        builder.nvml.clone_from(&self.nvml);
        builder.heritage = Some(self.clone());
        builder.open()
    }
}
