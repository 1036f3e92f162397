//! run.json: what a run is, and how each attempt at it went.

use std::io;
use std::path::Path;
use std::process::Command;

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

use crate::imports::files;

/// The manifest's name in a run folder.
pub const MANIFEST: &str = "run.json";

/// What run.json holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The experiment's name.
    pub experiment: String,
    /// The short commit of the code that runs, or "unknown" outside a repository.
    pub git_hash: String,
    /// "cuda:0 <name>", or "cpu".
    pub device: String,
    /// The machine.
    pub host: Host,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The experiment's configuration, its `logging` section filled in.
    pub configuration: serde_json::Map<String, serde_json::Value>,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Operating system and processor family.
    pub platform: String,
    /// Processors that this process may use.
    pub processors: usize,
}

/// How an attempt stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is under way, or died without a word.
    #[default]
    Running,
    /// It ended well.
    Completed,
    /// It ended in an error.
    Failed,
    /// A signal or the user ended it.
    Interrupted,
    /// It was found dead when the next one began.
    Died,
}

impl Status {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Died => "died",
        }
    }
}

/// One attempt at an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it began: RFC 3339, UTC.
    pub start: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// How it stands.
    pub status: Status,
    /// The exit code of the command, under `model-foundry run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The process that began it.
    pub pid: u32,
    /// True where a library inside the command logs too: its output is then no source of metrics.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logged_by_library: bool,
    /// Appends that failed at first.
    #[serde(default)]
    pub storage_failures: u64,
    /// Records that were lost because the storage refused them.
    #[serde(default)]
    pub refused_records: u64,
    /// What the storage said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_error: Option<String>,
    /// How often the component failed and was started anew.
    #[serde(default)]
    pub component_failures: u64,
    /// The identifier of its Weights & Biases run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wandb_id: Option<String>,
}

impl Manifest {
    /// Read a folder's manifest; none where there is none yet.
    ///
    /// # Errors
    ///
    /// If it cannot be read or is not JSON of this shape.
    pub(crate) fn read(dir: &Dir) -> io::Result<Option<Self>> {
        match dir.read_to_string(MANIFEST) {
            Ok(text) => Ok(Some(serde_json::from_str(&text).map_err(io::Error::other)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Write it whole, or leave the old one.
    pub(crate) fn write(&self, dir: &Dir) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        text.push('\n');
        files::replace(dir, MANIFEST, text.as_bytes())
    }

    /// The latest attempt.
    pub fn latest(&self) -> Option<&Attempt> {
        self.attempts.last()
    }
}

impl Host {
    pub(crate) fn this() -> Self {
        Self {
            name: sysinfo::System::host_name().unwrap_or_else(|_| "unknown".into()),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The short commit of the repository that a folder is in, or "unknown".
pub(crate) fn git_hash(folder: &Path) -> String {
    let output = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .output();
    output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|hash| hash.trim().to_owned())
        .filter(|hash| !hash.is_empty())
        .unwrap_or_else(|| "unknown".into())
}
