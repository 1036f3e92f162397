//! Folders for the tests of the program.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::Result;
use model_foundry::fields;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Experiment, NO_EPOCH, command, each, model_foundry, model_foundry_fed, program};

/// A folder to run the program in. Its experiment is "tiny", in `runs/tiny`.
pub struct Workplace(TempDir);

impl Workplace {
    #[expect(clippy::new_without_default, reason = "it makes a folder on the disk")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The program, to be started in the folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(program());
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Run the program in the folder to its end.
    pub fn model_foundry(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// `model-foundry run` a shell script as the experiment.
    pub fn run(&self, options: &[&str], script: &str) -> Output {
        let before = ["run", "--experiment", "tiny"];
        self.model_foundry(&[&before, options, &["--", "sh", "-c", script]].concat())
    }

    /// `model-foundry log` these records as the experiment.
    pub fn log(&self, options: &[&str], input: &str) -> Output {
        let folder = self.path("runs/tiny");
        let folder = folder.to_str().expect("UTF-8");
        model_foundry_fed([&["log", "--dir", folder], options].concat(), input)
    }

    /// The path of a file in the folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Write a file in the folder.
    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(file), content).expect("the file is written");
    }

    /// A file of the run.
    pub fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path("runs/tiny").join(file)).expect("a file of the run")
    }

    /// The records of a JSON Lines file of the run, without their times.
    pub fn lines(&self, file: &str) -> String {
        let without_time = |line: &str| {
            let mut record: Value = serde_json::from_str(line).expect("JSON");
            let members = record.as_object_mut().expect("a record");
            members.shift_remove("timestamp").expect("a timestamp");
            format!("{record}\n")
        };
        self.text(file).lines().map(without_time).collect()
    }

    /// One field of each attempt in run.json.
    pub fn attempts(&self, field: &str) -> Vec<Value> {
        let manifest: Value = serde_json::from_str(&self.text("run.json")).expect("JSON");
        each(&manifest["attempts"]).map(|attempt| attempt[field].clone()).collect()
    }
}

/// Run a command of the program on a run folder: the words of the command line, to which the folder is added.
pub fn model_foundry_on(words: &str, experiment: &Experiment) -> Output {
    let words = words.split(' ').map(AsRef::as_ref);
    model_foundry(words.chain([experiment.folder().as_os_str()]))
}

/// A finished run with six steps, a summary, a record, two timings and two errors.
pub fn logged_experiment() -> Result<Experiment> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let metrics = run.metrics();
    for step in 1..=5_u64 {
        let loss = 1.0 / step as f64;
        metrics.log_step(step, Some(0.5), &fields! { loss, tokens: step * 100 })?;
    }
    metrics.log_epoch_summary(0.5, &fields! { val_loss: 0.25 })?;
    metrics.log_step(6, NO_EPOCH, &fields! { loss: f64::NAN })?;
    run.logger("trainer").info("saved", &fields! { step: 5 })?;
    run.performance().record("forward", 0.25)?;
    run.performance().record("forward", 0.75)?;
    run.errors().log("ValueError", "bad value", "line 1\nline 2", &fields! { step: 3 })?;
    run.errors().log("OSError", "no file", "line 3", &[])?;
    Ok(experiment)
}
