//! An experiment with a run folder and a clock of its own.

use std::path::{Path, PathBuf};

use model_foundry::{Clock, Console, Manifest, ManualClock, OnError, Run, RunBuilder, RunReader};
use serde_json::Value;
use tempfile::TempDir;

/// 2025-01-02T03:04:05.678901Z, in microseconds since 1970.
pub const START: u64 = 1_735_787_045_678_901;

/// [`START`] as it appears in a record.
pub const START_TEXT: &str = "2025-01-02T03:04:05.678901Z";

/// An experiment named "tiny". Its run folder is deleted when this is dropped, and its clock stands still at
/// [`START`] until a test advances it.
pub struct Experiment {
    folder: TempDir,
    /// The clock of all its runs.
    pub clock: ManualClock,
}

impl Experiment {
    #[expect(clippy::new_without_default, reason = "it makes a folder on the disk")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, clock: ManualClock::at(START) }
    }

    /// A run in the folder, on a machine without a GPU. It prints nothing and returns every error.
    pub fn builder(&self) -> RunBuilder {
        Run::builder("tiny")
            .folder(self.folder.path())
            .clock(Clock::Manual(self.clock.clone()))
            .console(Console::Silent)
            .on_error(OnError::Return)
            .nvml(self.folder.path().join("no-driver.so"))
    }

    /// The run of [`builder`](Self::builder).
    pub fn run(&self) -> Run {
        self.builder().open().expect("the run opens")
    }

    /// The run folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a file in the run folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// A file's whole content.
    pub fn text(&self, file: &str) -> String {
        let path = self.path(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A file that is one JSON value.
    pub fn json(&self, file: &str) -> Value {
        serde_json::from_str(&self.text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// The records of a JSON Lines file. Each line must be strict JSON and end in a newline.
    pub fn records(&self, file: &str) -> Vec<Value> {
        let text = self.text(file);
        assert!(text.is_empty() || text.ends_with('\n'), "{file} ends in the middle of a line");
        text.lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{file}: {error}: {line}"))
            })
            .collect()
    }

    /// The only record of a JSON Lines file.
    pub fn record(&self, file: &str) -> Value {
        let records = self.records(file);
        assert_eq!(records.len(), 1, "{file} has one line");
        records.into_iter().next().unwrap_or_default()
    }

    /// The names of a log and of its rotated files, oldest first: main.log.2, main.log.1, main.log.
    pub fn with_rotated(&self, file: &str) -> Vec<String> {
        let prefix = format!("{file}.");
        let entries = std::fs::read_dir(self.folder()).expect("the run folder");
        let mut ages: Vec<u32> = entries
            .filter_map(|entry| {
                let name = entry.expect("an entry of the run folder").file_name();
                name.to_str()?.strip_prefix(&prefix)?.parse().ok()
            })
            .collect();
        ages.sort_unstable();
        let mut names: Vec<_> = ages.iter().rev().map(|age| format!("{prefix}{age}")).collect();
        names.extend(self.path(file).exists().then(|| file.to_owned()));
        names
    }

    /// run.json as a reader reports it.
    pub fn manifest(&self) -> Manifest {
        let reader = RunReader::open(self.folder()).expect("the run can be read");
        reader.manifest().expect("run.json can be read").expect("run.json exists")
    }

    /// The latest attempt as run.json records it.
    pub fn latest_attempt(&self) -> Value {
        let attempts = self.json("run.json")["attempts"].take();
        attempts.as_array().and_then(|attempts| attempts.last().cloned()).expect("an attempt")
    }

    /// Check that `verify` finds no damage in any file.
    pub fn assert_undamaged(&self) {
        let mut reader = RunReader::open(self.folder()).expect("the run can be read");
        let reports = reader.verify().expect("every file can be read");
        assert!(reports.iter().all(|report| report.findings.is_empty()), "{reports:?}");
    }
}
