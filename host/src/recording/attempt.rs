//! One attempt at an experiment: begun or joined when a run is opened, ended once.

use std::path::PathBuf;

use cap_std::fs::Dir;
use model_foundry_types::{LoggingConfig, RunInfo};
use serde_json::{Map, Value};

use crate::folder::locks;
use crate::folder::manifest::{Attempt, Manifest, Origin, Status};
use crate::folder::run_files::AttemptNames;
use crate::services::files::StorageTally;

/// The attempt that this process takes part in, and its entry in run.json.
pub(crate) struct AttemptWriter {
    number: u32,
    /// This process began it, and records how it ends.
    own: bool,
    /// This process was forked from one that takes part in it, which decides how it ends.
    is_forked: bool,
    ended: bool,
    /// The identifier of the copies that this process writes.
    copy_id: Option<String>,
    /// run.json as it was when this process began the attempt, or joined it.
    begun: Manifest,
}

/// What begins an attempt.
pub(crate) struct Beginning<'a> {
    pub(crate) origin: Origin,
    /// When it begins: as RFC 3339, and in microseconds since 1970.
    pub(crate) start: String,
    pub(crate) now: u64,
    /// As the component gets it.
    pub(crate) config: &'a LoggingConfig,
    /// The scheduler has restarted the job of the attempt before.
    pub(crate) is_restart: bool,
}

impl AttemptWriter {
    /// Join the latest attempt.
    pub(crate) fn join(manifest: &Manifest, is_forked: bool) -> Self {
        let number = manifest.attempts.last().map_or(1, |attempt| attempt.attempt);
        Self { number, own: false, is_forked, ended: false, copy_id: None, begun: manifest.clone() }
    }

    /// Begin an attempt. The caller holds the folder's lock. If run.json cannot be written now, it is written when the
    /// attempt ends; the error says why.
    pub(crate) fn begin(
        dir: &Dir,
        manifest: &mut Manifest,
        beginning: Beginning<'_>,
    ) -> (Self, std::io::Result<()>) {
        let Beginning { origin, start, now, config, is_restart } = beginning;
        for attempt in &mut manifest.attempts {
            if attempt.status == Status::Running {
                attempt.status = Status::Died;
            }
        }
        // The scheduler ended the attempt before, and started the job again.
        if let Some(latest) = manifest.attempts.last_mut().filter(|_| is_restart)
            && matches!(latest.status, Status::Died | Status::Interrupted | Status::Killed)
        {
            latest.status = Status::Preempted;
        }
        let number = manifest.attempts.last().map_or(0, |attempt| attempt.attempt) + 1;
        // A resumed run is the same run there.
        let earlier = manifest.attempts.iter().rev().find_map(|attempt| {
            // Its folder is named after the second in which the attempt began.
            let is_other = attempt.start.get(..19) != start.get(..19);
            attempt.wandb_id.clone().filter(|_| is_other)
        });
        let copy_id =
            config.log_to_wandb.then(|| earlier.unwrap_or_else(|| new_id(now, std::process::id())));
        manifest.attempts.push(Attempt {
            attempt: number,
            start,
            pid: std::process::id(),
            origin,
            wandb_id: copy_id.clone(),
            ..Attempt::default()
        });
        let written = manifest.write(dir);
        let begun = manifest.clone();
        (Self { number, own: true, is_forked: false, ended: false, copy_id, begun }, written)
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
        if !config.log_to_wandb {
            return None;
        }
        let own = || joins.then(|| new_id(now, std::process::id()));
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
            unsent: String::new(),
        };
        Some((names, info))
    }

    /// Record in run.json that a library inside the supervised command logs too, and with which versions.
    pub(crate) fn mark_library(&self, dir: &Dir, versions: &Map<String, Value>) {
        // Best effort: without the mark, metrics are taken from the command's output as well.
        let _ = self.change(dir, |Recorded { attempt, .. }| {
            attempt.logged_by_library = true;
            attempt.origin.versions.extend(versions.clone());
        });
    }

    /// Add to the configuration that run.json records, for the run and for this attempt.
    pub(crate) fn configure(
        &self,
        dir: &Dir,
        sections: &Map<String, Value>,
    ) -> std::io::Result<()> {
        self.change(dir, |Recorded { configuration, attempt, .. }| {
            merge(configuration, sections);
            merge(&mut attempt.origin.configuration, sections);
        })
    }

    /// Add to the parameters that run.json records, for the run and for this attempt.
    pub(crate) fn add_parameters(
        &self,
        dir: &Dir,
        added: &Map<String, Value>,
    ) -> std::io::Result<()> {
        self.change(dir, |Recorded { parameters, attempt, .. }| {
            merge(parameters, added);
            merge(&mut attempt.origin.parameters, added);
        })
    }

    /// Add to the results that run.json records for this attempt.
    pub(crate) fn add_results(
        &self,
        dir: &Dir,
        results: &Map<String, Value>,
    ) -> std::io::Result<()> {
        self.change(dir, |Recorded { attempt, .. }| merge(&mut attempt.results, results))
    }

    /// End the attempt, or add this process's counts to it.
    pub(crate) fn end(
        &mut self,
        dir: &Dir,
        ending: &Ending,
        tally: &StorageTally,
        traps: u64,
    ) -> std::io::Result<()> {
        self.ended = true;
        let quiet = tally.failures == 0 && tally.refused == 0 && traps == 0;
        let failed = ending.status == Status::Failed && !self.is_forked;
        if !self.own && quiet && !failed {
            return Ok(());
        }
        self.change(dir, |Recorded { attempt, .. }| {
            // What failed in one process of the attempt has failed, however the others end.
            let has_failed = attempt.status == Status::Failed;
            if failed {
                attempt.status = Status::Failed;
            }
            if self.own {
                attempt.end = Some(ending.end.clone());
                if !(has_failed && ending.status == Status::Completed) {
                    attempt.status = ending.status.clone();
                }
                attempt.exit_code = ending.exit_code;
                attempt.signal = ending.signal.clone().map(Value::String);
            }
            attempt.storage_failures += tally.failures;
            attempt.refused_records += tally.refused;
            attempt.component_failures += traps;
            if tally.latest.is_some() {
                attempt.storage_error.clone_from(&tally.latest);
            }
        })
    }

    /// Record the exit code of a process that has ended the attempt as completed.
    pub(crate) fn correct_exit_code(&self, dir: &Dir, code: i32) -> std::io::Result<()> {
        self.change(dir, |Recorded { attempt, .. }| {
            if self.own && attempt.status == Status::Completed {
                attempt.status = Status::Failed;
                attempt.exit_code = Some(code);
            }
        })
    }

    /// Change the attempt's entry in run.json, and the run's configuration.
    fn change(&self, dir: &Dir, change: impl FnOnce(Recorded<'_>)) -> std::io::Result<()> {
        let _lock = locks::change(dir, locks::PATIENCE)?;
        let read = Manifest::read(dir).ok().flatten();
        let has_entry = |manifest: &Manifest| {
            manifest.attempts.iter().any(|attempt| attempt.attempt == self.number)
        };
        // run.json may have been deleted or damaged since, or could not be written before.
        let mut manifest = match read {
            Some(manifest) if has_entry(&manifest) => manifest,
            _ if self.own => self.begun.clone(),
            _ => return Ok(()),
        };
        let number = self.number;
        let Manifest { attempts, configuration, parameters, .. } = &mut manifest;
        if let Some(attempt) = attempts.iter_mut().find(|attempt| attempt.attempt == number) {
            change(Recorded { configuration, parameters, attempt });
        }
        manifest.write(dir)
    }
}

/// What run.json says of a run and of one of its attempts.
struct Recorded<'a> {
    configuration: &'a mut Map<String, Value>,
    parameters: &'a mut Map<String, Value>,
    attempt: &'a mut Attempt,
}

/// How an attempt ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    pub(crate) status: Status,
    pub(crate) exit_code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<String>,
    /// When: RFC 3339.
    pub(crate) end: String,
}

/// Merge sections into a configuration, member by member.
fn merge(into: &mut Map<String, Value>, sections: &Map<String, Value>) {
    for (name, section) in sections {
        match (into.get_mut(name), section) {
            (Some(Value::Object(known)), Value::Object(section)) => merge(known, section),
            _ => {
                into.insert(name.clone(), section.clone());
            }
        }
    }
}

/// The configuration as the component gets it. A Weights & Biases copy is written if the configuration was given and
/// asks for it, or else if Weights & Biases is in use here; WANDB_MODE=disabled turns it off.
pub(crate) fn for_component(config: &LoggingConfig, is_given: bool) -> LoggingConfig {
    let is_disabled = std::env::var("WANDB_MODE").as_deref() == Ok("disabled");
    let log_to_wandb = config.log_to_wandb && !is_disabled && (is_given || uses_wandb());
    LoggingConfig { log_to_wandb, ..config.clone() }
}

/// Whether Weights & Biases is in use: its variables are set, its program is installed, or the user has logged in.
fn uses_wandb() -> bool {
    let has_variable = std::env::vars_os()
        .any(|(name, value)| name.to_string_lossy().starts_with("WANDB_") && !value.is_empty());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_installed = || std::env::split_paths(&path).any(|folder| folder.join("wandb").is_file());
    let has_login = || {
        let home = PathBuf::from(std::env::var_os("HOME")?);
        let netrc = std::fs::read_to_string(home.join(".netrc")).unwrap_or_default();
        Some(netrc.contains("api.wandb.ai") || home.join(".config/wandb/settings").is_file())
    };
    has_variable || is_installed() || has_login().unwrap_or(false)
}

/// Eight lower-case letters and digits, derived from the time and the process, that differ from run to run.
pub(crate) fn new_id(now: u64, pid: u32) -> String {
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
