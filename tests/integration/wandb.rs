//! The Weights & Biases offline run that is written in addition to the plain files, read by wandb itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Result;
use model_foundry::{ExperimentConfig, LoggingConfig, Status, fields};
use model_foundry_tests::{Experiment, NO_EPOCH, log_step, without_wandb};
use serde_json::{Value, json};

use crate::processes::{Child, run_of_child, send, wait_to_be_killed};
use crate::trainer::Trainer;

/// wandb's own program, which reads `.wandb` files without a network and without an account. `cargo xtask test`
/// installs it, in the version that bindings/python/tests/requirements.txt names.
///
/// Without it the tests fail, since a format that nothing reads is not tested. Where it cannot be installed,
/// `MODEL_FOUNDRY_SKIP_WANDB=1` skips what needs it, but never in CI.
fn wandb() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let program = root.join("target/python/venv/bin/wandb");
        let reason = match Command::new(&program).arg("--version").output() {
            Ok(output) if output.status.success() => return Some(program),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let skips = std::env::var_os("MODEL_FOUNDRY_SKIP_WANDB").is_some_and(|value| value == "1");
        let problem = format!("{} does not run: {reason}", program.display());
        assert!(
            skips && std::env::var_os("CI").is_none(),
            "{problem}; `cargo xtask venv` installs it, and MODEL_FOUNDRY_SKIP_WANDB=1 skips this test \
             outside CI"
        );
        println!("skipped: {problem}");
        None
    });
    program.as_deref()
}

/// The output of `wandb leet inspect --json` for a file.
fn inspect(wandb: &Path, file: &Path, summary: bool) -> Result<String> {
    let mut command = Command::new(wandb);
    command.args(["leet", "inspect", "--json"]).args(summary.then_some("--summary")).arg(file);
    let output = command.output()?;
    let printed = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    Ok(printed)
}

/// The offline runs of a run folder, oldest first.
fn offline_runs(experiment: &Experiment) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(experiment.path("wandb"))? {
        for file in std::fs::read_dir(folder?.path())? {
            files.push(file?.path());
        }
    }
    files.sort();
    Ok(files)
}

/// A child's job: train, and log numbers that JSON cannot represent.
pub(crate) fn log_to_wandb() {
    let log = || -> Result<()> {
        let mut whole = serde_json::Map::new();
        whole.insert("optimizer".into(), json!({ "name": "sgd", "lr": 0.5 }));
        let logging = LoggingConfig { log_metrics_every_n_steps: 1, ..LoggingConfig::default() };
        let run = run_of_child().experiment_config(ExperimentConfig { logging, whole }).open()?;
        let mut trainer = Trainer::new(&run)?;
        trainer.process_data()?;
        trainer.train(0, 8)?;
        trainer.metrics.log_step(
            9,
            2.0,
            &fields! { loss: f64::NAN, highest: f64::INFINITY, tokens: 8500, note: "spike" },
        )?;
        if std::env::var_os("WAITS").is_some() {
            send("logged");
            wait_to_be_killed();
        }
        run.finish(Status::Failed, Some(3));
        Ok(())
    };
    log().expect("everything is logged");
    send("done");
}

#[test]
fn wandb_integration_offline() -> Result<()> {
    let Some(wandb) = wandb() else { return Ok(()) };
    let experiment = Experiment::new();
    let variables = [("WANDB_PROJECT", "circle".to_owned())];
    Child::start("log to Weights & Biases", experiment.folder(), &variables).ends_well();

    let files = offline_runs(&experiment)?;
    assert_eq!(files.len(), 1);
    let records: Vec<Value> = inspect(wandb, &files[0], false)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let of_type = |name: &'static str| records.iter().filter(move |record| record["type"] == name);
    assert_eq!(of_type("header").count(), 1);
    let run: Vec<_> = of_type("run").map(|record| &record["run"]).collect();
    assert_eq!(run.len(), 1);
    assert_eq!((&run[0]["project"], &run[0]["display_name"]), (&json!("circle"), &json!("tiny-1")));
    let configuration = &run[0]["config"]["update"];
    assert_eq!(configuration["optimizer"], json!({ "name": "sgd", "lr": 0.5 }));
    assert_eq!(configuration["logging"]["log_metrics_every_n_steps"], 1);
    assert_eq!(run[0]["run_id"], experiment.latest_attempt()["wandb_id"]);

    // Each row has the values of its line in metrics.jsonl.
    let rows: Vec<_> = of_type("history").map(|record| &record["history"]["item"]).collect();
    let entries = experiment.records("metrics.jsonl");
    assert_eq!((rows.len(), entries.len()), (10, 10), "nine steps and a summary");
    for (row, entry) in rows.iter().zip(&entries) {
        let members = |name: &str| entry[name].as_object().into_iter().flatten();
        for (name, value) in members("metrics").chain(members("summary")) {
            let expected = match entry["non_finite"][name].as_str() {
                Some("inf") => json!("Infinity"),
                Some(other) => json!(other),
                None => value.clone(),
            };
            assert_eq!(row[name], expected, "{name} of {entry}");
        }
    }
    let steps: Vec<_> = rows.iter().filter_map(|row| row["_step"].as_u64()).collect();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7, 8, 8, 9], "the summary has the latest step");
    let last = rows[9];
    assert_eq!((&last["loss"], &last["highest"]), (&json!("NaN"), &json!("Infinity")));
    assert_eq!((&last["tokens"], &last["note"]), (&json!(8500), &json!("spike")));
    let exit: Vec<_> = of_type("exit").map(|record| &record["exit"]["exit_code"]).collect();
    assert_eq!(exit, [&json!(3)]);

    // wandb's own summary of the run.
    let summary: Value = serde_json::from_str(&inspect(wandb, &files[0], true)?)?;
    assert_eq!((&summary["state"], &summary["exit_code"]), (&json!("failed"), &json!(3)));
    assert_eq!((&summary["project"], &summary["step"]), (&json!("circle"), &json!(9)));
    assert_eq!(&summary["config"], configuration);
    let latest = &summary["summary"];
    assert_eq!((&latest["loss"], &latest["tokens"]), (&json!("NaN"), &json!(8500)));
    assert_eq!(
        latest["accuracy"], entries[7]["metrics"]["accuracy"],
        "no later step has an accuracy"
    );
    Ok(())
}

#[test]
fn each_attempt_is_an_offline_run_of_its_own() -> Result<()> {
    let experiment = Experiment::new();
    for _ in 0..2 {
        Child::start("log to Weights & Biases", experiment.folder(), &[]).ends_well();
    }
    let files = offline_runs(&experiment)?;
    assert_eq!(files.len(), 2);
    let Some(wandb) = wandb() else { return Ok(()) };
    let mut names = Vec::new();
    for file in &files {
        let summary: Value = serde_json::from_str(&inspect(wandb, file, true)?)?;
        assert_eq!(summary["project"], "model-foundry", "the default project");
        names.push(summary["name"].as_str().unwrap_or_default().to_owned());
    }
    names.sort();
    assert_eq!(names, ["tiny-1", "tiny-2"]);
    Ok(())
}

#[test]
fn the_next_attempt_completes_the_offline_run_of_a_killed_one() -> Result<()> {
    let experiment = Experiment::new();
    let mut child =
        Child::start("log to Weights & Biases", experiment.folder(), &[("WAITS", "1".into())]);
    child.expect("logged");
    child.kill();
    // The folder of an offline run is named after the second in which its attempt began.
    std::thread::sleep(std::time::Duration::from_secs(1));
    Child::start("log to Weights & Biases", experiment.folder(), &[]).ends_well();

    let mut files = offline_runs(&experiment)?;
    files.sort();
    let Some(wandb) = wandb() else { return Ok(()) };
    let steps = |file: &Path| -> Result<Vec<u64>> {
        let records = inspect(wandb, file, false)?;
        let records = records.lines().map(serde_json::from_str::<Value>);
        let rows = records.collect::<Result<Vec<_>, _>>()?;
        Ok(rows.iter().filter_map(|row| row["history"]["item"]["_step"].as_u64()).collect())
    };
    assert_eq!(steps(&files[0])?, [1, 2, 3, 4, 5, 6, 7, 8, 8], "the latest step was held back");
    assert_eq!(steps(&files[1])?[..3], [9, 1, 2], "the next attempt begins with it");
    Ok(())
}

#[test]
fn a_disabled_wandb_writes_nothing() -> Result<()> {
    let experiment = Experiment::new();
    let variables = [("WANDB_MODE", "disabled".to_owned())];
    Child::start("log to Weights & Biases", experiment.folder(), &variables).ends_well();
    assert_eq!(experiment.records("metrics.jsonl").len(), 10);
    assert!(!experiment.path("wandb").exists());

    let experiment = Experiment::new();
    let run = experiment.builder().config(without_wandb()).open()?;
    log_step(&run.metrics(), 1)?;
    drop(run);
    assert!(!experiment.path("wandb").exists());

    // No configuration asks for it, and nothing here uses Weights & Biases.
    let experiment = Experiment::new();
    log_step(&experiment.run().metrics(), 1)?;
    assert!(!experiment.path("wandb").exists());
    Ok(())
}

#[test]
fn a_killed_attempt_s_offline_run_has_every_step_but_the_latest() -> Result<()> {
    const STEPS: u64 = 5000;
    let experiment = Experiment::new();
    let run = experiment.builder().config(LoggingConfig::default()).open()?;
    let columns = run.metrics().columns(&["loss"])?;
    for step in 0..STEPS {
        columns.log(step, NO_EPOCH, &[0.5])?;
    }
    // The latest step is held back, because later calls may add metrics to it.
    log_step(&run.metrics(), STEPS)?;
    // As after `kill -9`, nothing is closed.
    std::mem::forget(run);

    let files = offline_runs(&experiment)?;
    let Some(wandb) = wandb() else { return Ok(()) };
    let records = inspect(wandb, &files[0], false)?;
    let rows = records.lines().filter(|record| record.contains("\"type\":\"history\"")).count();
    assert_eq!(rows as u64, STEPS);
    Ok(())
}
