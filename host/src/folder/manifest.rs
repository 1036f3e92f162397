//! run.json: what a run is, and how each attempt at it went.

use std::io::{self, Read as _, Seek as _};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use model_foundry_types::large_integers;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::replace::replace;

/// So that opening a FIFO does not wait.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// The manifest's name in a run folder.
pub const MANIFEST: &str = "run.json";

/// The version of the run folder's format that this library writes. It grows only when a reader of the
/// version before would misread the folder: see docs/FILE-FORMAT.md.
pub const FORMAT_VERSION: u32 = 1;

/// What run.json holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of the folder's format: 1 where run.json has none.
    #[serde(default = "first_format_version")]
    pub format_version: u32,
    /// The run's id: 8 lower-case letters and digits, or what the user gave in MODEL_FOUNDRY_RUN_ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The experiment's name.
    pub experiment: String,
    /// The short commit of the code of the latest attempt, or "unknown" outside a repository.
    #[serde(default = "unknown")]
    pub git_hash: String,
    /// The device of the latest attempt: `cuda:0 <name>`, or `cpu`.
    #[serde(default = "unknown")]
    pub device: String,
    /// The machine of the latest attempt.
    #[serde(default)]
    pub host: Host,
    /// The command of the latest attempt and its arguments. Arguments that look like secrets are masked.
    #[serde(default)]
    pub command: Vec<String>,
    /// The parameters of the latest attempt, such as the learning rate.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// The experiment's configuration in the latest attempt, its `logging` section filled in.
    #[serde(default)]
    pub configuration: Map<String, Value>,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
    /// Members that this library does not know. They survive a rewrite.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
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
    /// Members that this library does not know. They survive a rewrite, until the next attempt names its
    /// own machine.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An attempt's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// It is in progress, or its process disappeared without recording an end.
    #[default]
    Running,
    /// It ended successfully.
    Completed,
    /// It ended in an error.
    Failed,
    /// The user, or a signal that asks a process to end, ended it.
    Interrupted,
    /// Its scheduler or its elastic launcher ended it with a signal.
    Preempted,
    /// A signal that a process cannot answer ended it, such as SIGKILL or SIGSEGV.
    Killed,
    /// Its process disappeared without recording an end. This was found when the next attempt began.
    Died,
    /// A status that this library does not know.
    #[serde(untagged)]
    Other(String),
}

impl Status {
    /// The word for it.
    pub fn name(&self) -> &str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Preempted => "preempted",
            Self::Killed => "killed",
            Self::Died => "died",
            Self::Other(name) => name,
        }
    }
}

/// What an attempt was started with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Origin {
    /// The command, quoted so that it can be pasted into a shell. Arguments that look like secrets are masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The folder in which it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The short commit of the code, or "unknown" outside a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_hash: Option<String>,
    /// Whether files of the repository had been changed since that commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_dirty: Option<bool>,
    /// The file in the run folder with these changes, if they were recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_diff: Option<String>,
    /// The machine's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `cuda:0 <name>`, or `cpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The rank of the process that began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// The number of processes in the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world_size: Option<u32>,
    /// The job, such as `slurm=1234`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The versions of this library, of the language and of the training framework.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub versions: Map<String, Value>,
    /// Environment variables that matter to a training. Values that look like secrets are masked.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub environment: Map<String, Value>,
    /// The parameters, such as the learning rate.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// The experiment's configuration in this attempt.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub configuration: Map<String, Value>,
}

/// One attempt at an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it began: RFC 3339, UTC.
    #[serde(default)]
    pub start: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Its status.
    #[serde(default)]
    pub status: Status,
    /// The exit code of the command, under `model-foundry run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it, such as `SIGTERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Value>,
    /// The process that began it.
    #[serde(default)]
    pub pid: u32,
    /// What was started: where, how, with which code and versions.
    #[serde(flatten)]
    pub origin: Origin,
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
    /// How often the component failed and was restarted.
    #[serde(default)]
    pub component_failures: u64,
    /// Results that the trainer recorded by name: the best accuracy, a final score.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub results: Map<String, Value>,
    /// The identifier of its Weights & Biases run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wandb_id: Option<String>,
    /// Members that this library does not know. They survive a rewrite.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Attempt {
    /// The name of the signal that ended it, such as `SIGTERM`.
    pub fn signal_name(&self) -> Option<&str> {
        self.signal.as_ref()?.as_str()
    }
}

impl Manifest {
    /// Read a folder's manifest; none where there is none yet.
    ///
    /// # Errors
    ///
    /// If it cannot be read or is not JSON of this shape.
    pub(crate) fn read(dir: &Dir) -> io::Result<Option<Self>> {
        match read_text(dir)? {
            Some(text) => Self::parse(&text).map(Some).map_err(io::Error::other),
            None => Ok(None),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(&large_integers::quoted(text)).map_err(|error| match newer_version_of(
            text,
        ) {
            Some(version) => format!(
                "format version {version} is newer than {FORMAT_VERSION}, and this version of \
                 model-foundry cannot read it ({error}); update model-foundry"
            ),
            None => error.to_string(),
        })
    }

    /// A manifest for a folder that has lost its own, with the attempts of which metrics.jsonl has lines.
    fn of_data(dir: &Dir, experiment: &str) -> Self {
        let latest = latest_line(dir);
        let number = |name: &str| latest.as_ref()?.get(name)?.as_u64();
        let attempts = match &latest {
            None => 0,
            Some(_) => number("attempt").and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        };
        let time = latest.as_ref().and_then(|line| line.get("timestamp")?.as_str());
        let attempt = |attempt| Attempt {
            attempt,
            start: time.unwrap_or_default().to_owned(),
            status: Status::Other("unknown".into()),
            ..Attempt::default()
        };
        Self {
            format_version: FORMAT_VERSION,
            id: None,
            experiment: experiment.to_owned(),
            git_hash: unknown(),
            device: unknown(),
            host: Host::default(),
            command: Vec::new(),
            parameters: Map::new(),
            configuration: Map::new(),
            attempts: (1..=attempts.min(10_000)).map(attempt).collect(),
            extra: Map::new(),
        }
    }

    /// Refuse to append to a folder of a newer format: what this library appends could contradict what it
    /// does not know.
    pub(crate) fn check_appendable(&self) -> Result<(), String> {
        if self.format_version > FORMAT_VERSION {
            Err(too_new(self.format_version))
        } else {
            Ok(())
        }
    }

    /// Write it whole, or leave the old one.
    pub(crate) fn write(&self, dir: &Dir) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        text.push('\n');
        replace(dir, MANIFEST, text.as_bytes())
    }

    /// The latest attempt.
    pub fn latest(&self) -> Option<&Attempt> {
        self.attempts.last()
    }
}

/// The largest run.json that is read, in bytes.
const LARGEST: u64 = 64 << 20;

/// The text of run.json, a regular file; none if there is none.
fn read_text(dir: &Dir) -> io::Result<Option<String>> {
    let mut options = OpenOptions::new();
    // Opening a FIFO to read would wait for a writer.
    options.read(true).custom_flags(NONBLOCK);
    let file = match dir.open_with(MANIFEST, &options) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    if file.take(LARGEST + 1).read_to_string(&mut text)? as u64 > LARGEST {
        return Err(io::Error::other(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    Ok(Some(text))
}

/// Move a run.json that cannot be used aside, and make one of what the folder's data shows: the manifest, and the name
/// of the old file.
pub(crate) fn rebuild(dir: &Dir, experiment: &str) -> io::Result<(Manifest, String)> {
    let name = |n: u32| match n {
        1 => format!("{MANIFEST}.unusable"),
        _ => format!("{MANIFEST}.unusable-{n}"),
    };
    let is_free = |name: &String| dir.symlink_metadata(name).is_err();
    let aside = (1..=u32::MAX).map(name).find(is_free).unwrap_or_default();
    dir.rename(MANIFEST, dir, &aside)?;
    Ok((Manifest::of_data(dir, experiment), aside))
}

/// The last whole line of metrics.jsonl.
fn latest_line(dir: &Dir) -> Option<Map<String, Value>> {
    /// How much of the end of the file is read. A longer line is not found.
    const TAIL: u64 = 1 << 20;
    let tail = tail(dir, "metrics.jsonl", TAIL)?;
    tail.split(|byte| *byte == b'\n').rev().find_map(|line| serde_json::from_slice(line).ok())
}

/// The end of a file, at most so many bytes; none if it cannot be read, or is no plain file.
pub(crate) fn tail(dir: &Dir, name: &str, most: u64) -> Option<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(NONBLOCK);
    let mut file = dir.open_with(name, &options).ok()?;
    let size = file.metadata().ok().filter(cap_std::fs::Metadata::is_file)?.len();
    file.seek(io::SeekFrom::Start(size.saturating_sub(most))).ok()?;
    let mut tail = Vec::new();
    file.take(most).read_to_end(&mut tail).ok()?;
    Some(tail)
}

/// The version of a folder's format, where it is newer than [`FORMAT_VERSION`].
pub(crate) fn newer_version(dir: &Dir) -> Option<u32> {
    newer_version_of(&read_text(dir).ok()??)
}

/// Why a folder of a newer format is left as it is.
pub(crate) fn too_new(version: u32) -> String {
    format!(
        "format version {version} is newer than {FORMAT_VERSION}, the newest that model-foundry {} can \
         change; update model-foundry, or log to another folder",
        env!("CARGO_PKG_VERSION")
    )
}

fn newer_version_of(text: &str) -> Option<u32> {
    /// The one member that keeps its meaning in every version.
    #[derive(Deserialize)]
    struct Version {
        #[serde(default = "first_format_version")]
        format_version: u32,
    }
    let Version { format_version } = serde_json::from_str(text).ok()?;
    (format_version > FORMAT_VERSION).then_some(format_version)
}

fn unknown() -> String {
    "unknown".into()
}

/// run.json had no version before there were several.
fn first_format_version() -> u32 {
    1
}

impl Host {
    pub(crate) fn this() -> Self {
        Self {
            name: sysinfo::System::host_name().unwrap_or_else(|_| "unknown".into()),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            extra: Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLDEST: &str = r#"{"experiment":"tiny","git_hash":"unknown","device":"cpu",
        "host":{"name":"vm","platform":"linux x86_64","processors":2},"command":["train"],
        "configuration":{},"attempts":[{"attempt":1,"start":"2025-01-02T03:04:05.678901Z",
        "status":"completed","pid":7}]}"#;

    #[test]
    fn a_manifest_without_a_format_version_is_of_version_1() {
        let manifest = Manifest::parse(OLDEST).unwrap();
        assert_eq!(manifest.format_version, 1);
        assert_eq!(manifest.check_appendable(), Ok(()));
        assert_eq!(newer_version_of(OLDEST), None);
    }

    #[test]
    fn unknown_members_are_written_again_at_every_level() {
        let mut known: Value = serde_json::from_str(OLDEST).unwrap();
        known["tags"] = serde_json::json!(["a", { "b": 18_446_744_073_709_551_615_u64 }]);
        known["host"]["kernel"] = "6.18".into();
        known["attempts"][0]["cause"] = serde_json::json!({ "number": 15, "from": null });

        let manifest = Manifest::parse(&known.to_string()).unwrap();

        let written = serde_json::to_value(manifest).unwrap();
        for (member, expected) in [
            (&written["tags"], &known["tags"]),
            (&written["host"], &known["host"]),
            (&written["attempts"][0]["cause"], &known["attempts"][0]["cause"]),
        ] {
            assert_eq!(member, expected);
        }
        let large = OLDEST.replacen('{', "{\"seed\":123456789012345678901,", 1);
        assert_eq!(Manifest::parse(&large).unwrap().extra["seed"], "123456789012345678901");
    }

    #[test]
    fn a_newer_manifest_is_read_as_far_as_it_is_known() {
        let newer = OLDEST.replacen('{', "{\"format_version\":2,", 1);
        let manifest = Manifest::parse(&newer).unwrap();
        assert_eq!((manifest.format_version, newer_version_of(&newer)), (2, Some(2)));
        assert!(manifest.check_appendable().unwrap_err().contains("format version 2"));

        let unreadable = newer.replace("\"attempts\":[", "\"attempts\":[3,");
        let problem = Manifest::parse(&unreadable).unwrap_err();
        assert!(problem.starts_with("format version 2 is newer than 1"), "{problem}");
        assert!(problem.ends_with("update model-foundry"), "{problem}");
    }

    #[test]
    fn a_version_that_is_no_version_is_refused() {
        for version in ["0.5", "-1", "\"1\"", "null", "99999999999"] {
            let text = OLDEST.replacen('{', &format!("{{\"format_version\":{version},"), 1);
            assert!(Manifest::parse(&text).is_err(), "{version}");
        }
    }
}
