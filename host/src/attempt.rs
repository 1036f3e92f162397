//! One attempt at an experiment: begun or joined when a run is opened, ended once.

use std::path::Path;

use cap_std::fs::Dir;
use model_foundry_guest::config::LoggingConfig;

use crate::bindings::exports::model_foundry::logging::metrics as component;
use crate::imports::files::StorageTally;
use crate::locks;
use crate::manifest::{Attempt, MANIFEST, Manifest, Status};
use crate::{Error, Result};

/// The attempt that this process takes part in.
pub(crate) struct Attempted {
    number: u32,
    /// This process began it, and says how it ends.
    own: bool,
    ended: bool,
    wandb: Option<String>,
}

impl Attempted {
    /// Begin an attempt, or join the present one where other processes are at it. The caller holds the
    /// folder's lock.
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
            return Ok((manifest, Self { number, own: false, ended: false, wandb: None }));
        }
        for attempt in &mut manifest.attempts {
            if attempt.status == Status::Running {
                attempt.status = Status::Died;
            }
        }
        let number = manifest.attempts.last().map_or(0, |attempt| attempt.attempt) + 1;
        let wandb_id = wandb_wanted(config).then(|| wandb_id(now, std::process::id()));
        manifest.attempts.push(Attempt {
            attempt: number,
            start,
            pid: std::process::id(),
            wandb_id: wandb_id.clone(),
            ..Attempt::default()
        });
        if !manifest.configuration.contains_key("logging") {
            manifest.configuration.extend(crate::config::as_json(config));
        }
        manifest.write(dir).map_err(|error| {
            Error::path(folder.join(MANIFEST), format!("it cannot be written: {error}"))
        })?;
        Ok((manifest, Self { number, own: true, ended: false, wandb: wandb_id }))
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The Weights & Biases offline run of this attempt: the file's path below the run folder, and what it
    /// begins with.
    pub(crate) fn wandb(
        &self,
        manifest: &Manifest,
        config: &LoggingConfig,
        now: u64,
        joins: bool,
    ) -> Option<(String, component::WandbRun)> {
        if !wandb_wanted(config) {
            return None;
        }
        // A library inside a watched command has the metrics: the run is its, beside that of the watcher.
        let own = || joins.then(|| wandb_id(now, std::process::id()));
        let id = self.wandb.clone().or_else(own)?;
        let start = manifest.latest()?.start.clone();
        // YYYYMMDD_HHMMSS, as the folder of an offline run is named.
        let digits: String = start.chars().filter(char::is_ascii_digit).take(14).collect();
        let (day, time) = digits.split_at_checked(8)?;
        let path = format!("wandb/offline-run-{day}_{time}-{id}/run-{id}.wandb");
        let project = std::env::var("WANDB_PROJECT").ok().filter(|project| !project.is_empty());
        Some((
            path,
            component::WandbRun {
                id,
                project: project.unwrap_or_else(|| "model-foundry".into()),
                name: format!("{}-{}", manifest.experiment, self.number),
                config: serde_json::to_string(&manifest.configuration).unwrap_or_default(),
                host: manifest.host.name.clone(),
                started: now,
            },
        ))
    }

    /// Say in run.json that a library inside the watched command logs too.
    pub(crate) fn mark_library(&self, dir: &Dir) {
        // Best effort: without the mark the command's output is read as well.
        let _ = self.change(dir, |attempt| attempt.logged_by_library = true);
    }

    /// End the attempt, or add this process' counts to it.
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

/// Whether a Weights & Biases log is to be written: WANDB_MODE=disabled turns it off.
fn wandb_wanted(config: &LoggingConfig) -> bool {
    config.log_to_wandb && std::env::var("WANDB_MODE").as_deref() != Ok("disabled")
}

/// Eight lower-case letters and digits that differ from run to run: of the time and the process.
fn wandb_id(now: u64, pid: u32) -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // Weyl's sequence and a multiplication spread neighbouring times (splitmix64's finaliser).
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
