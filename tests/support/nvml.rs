//! A machine with GPUs, whether or not the one that tests has any.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// A copy of tests/nvml-stand-in, to be loaded as the driver's library.
pub struct StandInDriver {
    folder: TempDir,
}

impl StandInDriver {
    /// A driver that answers by this scenario: see the stand-in's own documentation.
    pub fn new(scenario: &str) -> Self {
        let driver = Self { folder: tempfile::tempdir().expect("a folder for the driver") };
        std::fs::copy(stand_in(), driver.library()).expect("a copy of the stand-in");
        driver.becomes(scenario);
        driver
    }

    /// Answer by another scenario from now on.
    pub fn becomes(&self, scenario: &str) {
        let path = self.folder.path().join("libnvidia-ml.so.1.scenario");
        std::fs::write(path, scenario).expect("the scenario");
    }

    /// The library, for `RunBuilder::nvml`.
    pub fn library(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }
}

/// Builds the stand-in once for each test binary; its path.
fn stand_in() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // A target folder of its own: cargo may hold the lock of the usual one while it runs us.
        let output = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "nvml-stand-in"])
            .args(["--message-format", "json", "--target-dir", "target/nvml-stand-in"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "the stand-in was not built");
        output
            .stdout
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "nvml_stand_in")
            .find_map(|message| message["filenames"][0].as_str().map(PathBuf::from))
            .expect("cargo names the library")
    })
}
