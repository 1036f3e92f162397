//! One attempt at an experiment: begun or joined when a run is opened, ended once.

use std::path::Path;

use cap_std::fs::Dir;
use model_foundry_types::{LoggingConfig, RunInfo};

use crate::folder::locks;
use crate::folder::manifest::{Attempt, MANIFEST, Manifest, Status};
use crate::folder::run_files::AttemptNames;
use crate::services::files::StorageTally;
use crate::{Error, Result};

/// The attempt that this process takes part in, and its entry in run.json.
pub(crate) struct AttemptWriter {
    number: u32,
    /// This process began it, and records how it ends.
    own: bool,
    ended: bool,
    /// The identifier of the copies that this process writes.
    copy_id: Option<String>,
}

impl AttemptWriter {
    /// Begin an attempt, or join the current one if other processes have it open. The caller holds the folder's lock.
    pub(crate) fn begin(
        dir: &Dir,
        mut manifest: Manifest,
        begins: bool,
        start: String,
        now: u64,
        config: &LoggingConfig,
        folder: &Path,
    ) -> Result<(Manifest, Self)> {
        let joined = !begins && !manifest.attempts.is_empty();
        if joined {
            let number = manifest.attempts.last().map_or(1, |attempt| attempt.attempt);
            return Ok((manifest, Self { number, own: false, ended: false, copy_id: None }));
        }
        for attempt in &mut manifest.attempts {
            if attempt.status == Status::Running {
                attempt.status = Status::Died;
            }
        }
        let number = manifest.attempts.last().map_or(0, |attempt| attempt.attempt) + 1;
        let copy_id = writes_copies(config).then(|| copy_id(now, std::process::id()));
        manifest.attempts.push(Attempt {
            attempt: number,
            start,
            pid: std::process::id(),
            wandb_id: copy_id.clone(),
            ..Attempt::default()
        });
        manifest.write(dir).map_err(|error| {
            Error::path(folder.join(MANIFEST), format!("cannot write run.json: {error}"))
        })?;
        Ok((manifest, Self { number, own: true, ended: false, copy_id }))
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What copies of the metrics for other tools are named by, and what they say of the run; none if this process
    /// does not write them. `joins` is true for a library inside a command that `model-foundry run` supervises: it
    /// has the metrics, so it writes copies of its own.
    pub(crate) fn copies(
        &self,
        manifest: &Manifest,
        config: &LoggingConfig,
        now: u64,
        joins: bool,
    ) -> Option<(AttemptNames, RunInfo)> {
        if !writes_copies(config) {
            return None;
        }
        let own = || joins.then(|| copy_id(now, std::process::id()));
        let id = self.copy_id.clone().or_else(own)?;
        let start = manifest.latest()?.start.clone();
        // YYYYMMDD and HHMMSS.
        let digits: String = start.chars().filter(char::is_ascii_digit).take(14).collect();
        let (day, time) = digits.split_at_checked(8)?;
        let names = AttemptNames { day: day.to_owned(), time: time.to_owned(), id: id.clone() };
        let project = std::env::var("WANDB_PROJECT").ok().filter(|project| !project.is_empty());
        let info = RunInfo {
            id,
            project: project.unwrap_or_else(|| "model-foundry".into()),
            name: format!("{}-{}", manifest.experiment, self.number),
            config: serde_json::to_string(&manifest.configuration).unwrap_or_default(),
            host: manifest.host.name.clone(),
            started: now,
        };
        Some((names, info))
    }

    /// Record in run.json that a library inside the supervised command logs too.
    pub(crate) fn mark_library(&self, dir: &Dir) {
        // Best effort: without the mark, metrics are taken from the command's output as well.
        let _ = self.change(dir, |attempt| attempt.logged_by_library = true);
    }

    /// End the attempt, or add this process's counts to it.
    pub(crate) fn end(
        &mut self,
        dir: &Dir,
        status: Status,
        exit_code: Option<i32>,
        end: String,
        tally: &StorageTally,
        traps: u64,
    ) -> std::io::Result<()> {
        self.ended = true;
        let quiet = tally.failures == 0 && traps == 0;
        if !self.own && quiet {
            return Ok(());
        }
        self.change(dir, |attempt| {
            if self.own {
                attempt.end = Some(end);
                attempt.status = status;
                attempt.exit_code = exit_code;
            }
            attempt.storage_failures += tally.failures;
            attempt.refused_records += tally.refused;
            attempt.component_failures += traps;
            if tally.latest.is_some() {
                attempt.storage_error.clone_from(&tally.latest);
            }
        })
    }

    fn change(&self, dir: &Dir, change: impl FnOnce(&mut Attempt)) -> std::io::Result<()> {
        let _lock = locks::change(dir)?;
        let Some(mut manifest) = Manifest::read(dir)? else { return Ok(()) };
        let number = self.number;
        if let Some(attempt) =
            manifest.attempts.iter_mut().find(|attempt| attempt.attempt == number)
        {
            change(attempt);
        }
        manifest.write(dir)
    }
}

/// The configuration as the component gets it: WANDB_MODE=disabled turns the Weights & Biases copy off.
pub(crate) fn for_component(config: &LoggingConfig) -> LoggingConfig {
    let enabled = std::env::var("WANDB_MODE").as_deref() != Ok("disabled");
    LoggingConfig { log_to_wandb: config.log_to_wandb && enabled, ..config.clone() }
}

/// Whether the configuration asks for a copy.
fn writes_copies(config: &LoggingConfig) -> bool {
    for_component(config).log_to_wandb
}

/// Eight lower-case letters and digits, derived from the time and the process, that differ from run to run.
fn copy_id(now: u64, pid: u32) -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // A Weyl sequence and the finalizer of splitmix64 spread times that are close together.
    let mut bits = now.wrapping_add(u64::from(pid) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 27;
    (0..8)
        .map(|_| {
            let letter = LETTERS[(bits % 36) as usize];
            bits /= 36;
            char::from(letter)
        })
        .collect()
}
