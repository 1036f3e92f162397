//! What the tests share: an experiment in a folder of its own, by a clock of its own.

use std::path::{Path, PathBuf};

use model_foundry::{Clock, Console, ManualClock, OnError, Run, RunBuilder};
use serde_json::Value;
use tempfile::TempDir;

pub use nvml_stand_in::StandInDriver;

/// 2025-01-02T03:04:05.678901Z, in microseconds since 1970.
pub const START: u64 = 1_735_787_045_678_901;

/// What [`START`] is in a record.
pub const START_TEXT: &str = "2025-01-02T03:04:05.678901Z";

/// An experiment named "tiny" with a run folder, which is gone when this is dropped, and a clock that stands
/// still at [`START`].
pub struct Experiment {
    folder: TempDir,
    /// Its clock.
    pub clock: ManualClock,
}

impl Experiment {
    #[expect(clippy::new_without_default, reason = "there is nothing default about a new folder")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        Self { folder, clock: ManualClock::at(START) }
    }

    /// A run in the folder, on a machine without a GPU, that says nothing and returns every error.
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

    /// A file of the run folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// A file's whole content.
    pub fn text(&self, file: &str) -> String {
        let path = self.path(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The lines of a file of JSON Lines. Each is strict JSON and ends in a newline.
    pub fn records(&self, file: &str) -> Vec<Value> {
        let text = self.text(file);
        assert!(text.is_empty() || text.ends_with('\n'), "{file} ends in the middle of a line");
        text.lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{file}: {error}: {line}"))
            })
            .collect()
    }

    /// The only line of a file of JSON Lines.
    pub fn record(&self, file: &str) -> Value {
        let records = self.records(file);
        assert_eq!(records.len(), 1, "{file} has one line");
        records.into_iter().next().unwrap_or_default()
    }
}
