//! Logging in a process that was forked from the one that opened the run.
//!
//! The child has only the thread that forked, and every lock is in the state it had: the child leaves everything that
//! the parent had open untouched. It opens the folder itself and joins the current attempt, like any other process of
//! the run.

use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::Dir;
use model_foundry_types::LoggingConfig;

use super::{Run, RunBuilder};
use crate::Result;
use crate::engine::runtime::Runtime;
use crate::folder::current_path;
use crate::process::origin::Commit;
use crate::recording::error_policy::Console;

/// What a forked process needs to open a run that its parent has open. Taken before the fork, as the
/// parent's locks may be held afterwards.
#[derive(Clone, Debug)]
pub struct ForkState {
    pub(super) folder: PathBuf,
    /// The folder itself, which may be moved.
    dir: Option<Arc<Dir>>,
    console: Console,
    pub(super) experiment: String,
    pub(super) config: LoggingConfig,
    pub(super) rank: Option<u32>,
    pub(super) shards: bool,
    pub(super) commit: Commit,
    pub(super) device: String,
    pub(super) seen: Option<Vec<String>>,
    pub(super) nvml: Option<PathBuf>,
}

impl Run {
    /// What a process that is forked from this one needs to log to the run.
    pub fn fork_state(&self) -> ForkState {
        let manifest = self.core.manifest.lock();
        ForkState {
            folder: self.core.folder.clone(),
            // Without it the folder is looked for at its path.
            dir: self.core.dir.try_clone().ok().map(Arc::new),
            console: self.core.policy.console().clone(),
            experiment: manifest.experiment.clone(),
            config: self.core.config.clone(),
            rank: self.core.rank,
            shards: self.core.shards,
            commit: self.core.commit.clone(),
            device: manifest.device.clone(),
            seen: self.core.sampler.lock().seen().cloned(),
            nvml: self.core.nvml.clone(),
        }
    }

    /// In a process that was forked from the one that opened this run: give the run up without ending the attempt, and
    /// without the lock by which readers would think that the parent is alive. Everything else that came from the run
    /// must be forgotten ([`std::mem::forget`]) and not dropped.
    pub fn forget_parent(self) {
        drop(self.core.live.lock().take());
        mem::forget(self);
    }
}

impl ForkState {
    /// Open the run in the forked process. It joins the parent's attempt, and never ends it.
    ///
    /// # Errors
    ///
    /// As [`RunBuilder::open`].
    pub fn open(&self, runtime: &Runtime) -> Result<Run> {
        let moved = self.dir.as_deref().and_then(current_path);
        let mut builder = RunBuilder::new(&self.experiment)
            .folder(moved.as_ref().unwrap_or(&self.folder))
            .config(self.config.clone())
            .console(self.console.clone())
            .shards(self.shards)
            .runtime(runtime.clone());
        builder.rank = self.rank;
        builder.nvml.clone_from(&self.nvml);
        builder.fork_state = Some(self.clone());
        builder.open()
    }
}
