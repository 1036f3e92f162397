//! run.json: what a run is, and how each attempt at it went.

use std::io;
use std::path::Path;
use std::process::Command;

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::replace::replace;

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
    /// The experiment's name.
    pub experiment: String,
    /// The short commit of the code that runs, or "unknown" outside a repository.
    pub git_hash: String,
    /// `cuda:0 <name>`, or `cpu`.
    pub device: String,
    /// The machine.
    pub host: Host,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The experiment's configuration, its `logging` section filled in.
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
    /// Its status.
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
    /// How often the component failed and was restarted.
    #[serde(default)]
    pub component_failures: u64,
    /// The identifier of its Weights & Biases run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wandb_id: Option<String>,
    /// Members that this library does not know. They survive a rewrite.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Manifest {
    /// Read a folder's manifest; none where there is none yet.
    ///
    /// # Errors
    ///
    /// If it cannot be read or is not JSON of this shape.
    pub(crate) fn read(dir: &Dir) -> io::Result<Option<Self>> {
        match dir.read_to_string(MANIFEST) {
            Ok(text) => Self::parse(&text).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| match newer_version_of(text) {
            Some(version) => format!(
                "format version {version} is newer than {FORMAT_VERSION}, and this version of \
                 model-foundry cannot read it ({error}); update model-foundry"
            ),
            None => error.to_string(),
        })
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

/// The version of a folder's format, where it is newer than [`FORMAT_VERSION`].
pub(crate) fn newer_version(dir: &Dir) -> Option<u32> {
    newer_version_of(&dir.read_to_string(MANIFEST).ok()?)
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
        known["attempts"][0]["signal"] = serde_json::json!({ "number": 15, "from": null });

        let manifest = Manifest::parse(&known.to_string()).unwrap();

        let written = serde_json::to_value(manifest).unwrap();
        for (member, expected) in [
            (&written["tags"], &known["tags"]),
            (&written["host"], &known["host"]),
            (&written["attempts"][0]["signal"], &known["attempts"][0]["signal"]),
        ] {
            assert_eq!(member, expected);
        }
    }

    #[test]
    fn a_newer_manifest_is_read_as_far_as_it_is_known() {
        let newer = OLDEST.replacen('{', "{\"format_version\":2,", 1);
        let manifest = Manifest::parse(&newer).unwrap();
        assert_eq!((manifest.format_version, newer_version_of(&newer)), (2, Some(2)));
        assert!(manifest.check_appendable().unwrap_err().contains("format version 2"));

        let unreadable = newer.replace("completed", "paused");
        let problem = Manifest::parse(&unreadable).unwrap_err();
        assert!(problem.starts_with("format version 2 is newer than 1"), "{problem}");
        assert!(problem.ends_with("update model-foundry"), "{problem}");
        let problem = Manifest::parse(&OLDEST.replace("completed", "paused")).unwrap_err();
        assert!(problem.starts_with("unknown variant `paused`"), "{problem}");
    }

    #[test]
    fn a_version_that_is_no_version_is_refused() {
        for version in ["0.5", "-1", "\"1\"", "null", "99999999999"] {
            let text = OLDEST.replacen('{', &format!("{{\"format_version\":{version},"), 1);
            assert!(Manifest::parse(&text).is_err(), "{version}");
        }
    }
}
