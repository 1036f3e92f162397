//! The program on run folders of a newer format: it reads them with a note, and appends to none.

use std::fs;

use anyhow::Result;
use model_foundry::{Status, fields};
use model_foundry_tests::{Experiment, model_foundry, model_foundry_fed, text};
use serde_json::{Value, json};

/// The run folder of an ended run, of format version 2.
fn of_a_newer_format() -> Result<Experiment> {
    let experiment = Experiment::new();
    let run = experiment.run();
    run.metrics().log_step(1, 0.0, &fields! { loss: 0.5 })?;
    run.logger("trainer").info("a record", &[])?;
    run.finish(Status::Completed, Some(0));
    let mut manifest: Value = serde_json::from_str(&experiment.text("run.json"))?;
    manifest["format_version"] = json!(2);
    fs::write(experiment.path("run.json"), manifest.to_string())?;
    Ok(experiment)
}

#[test]
fn a_newer_format_is_read_with_one_note() -> Result<()> {
    let experiment = of_a_newer_format()?;
    let folder = experiment.folder().to_string_lossy();
    let note = format!(
        "note: {folder} has format version 2, newer than 1: parts of this run may be missing here; update \
         model-foundry\n"
    );
    for command in ["show", "history", "stats", "errors", "timings", "tail", "verify"] {
        for options in [&[][..], &["--json"]] {
            let output = model_foundry([&[command, &folder], options].concat());

            assert_eq!(output.status.code(), Some(0), "{command}");
            assert_eq!(text(&output.stderr), note, "{command}");
            assert!(!output.stdout.is_empty(), "{command}");
        }
    }
    let shown = model_foundry(["show", "--json", &folder]);
    let shown: Value = serde_json::from_slice(&shown.stdout)?;
    assert_eq!(shown["run"]["format_version"], 2);
    assert_eq!(shown["metrics"][0]["statistics"]["count"], 1);
    Ok(())
}

#[test]
fn a_newer_format_is_not_appended_to() -> Result<()> {
    let experiment = of_a_newer_format()?;
    let before = experiment.text("metrics.jsonl");
    let folder = experiment.folder().to_string_lossy();

    let output = model_foundry_fed(["log", "--dir", &folder], "{\"step\":2,\"metrics\":{}}\n");

    assert_eq!(output.status.code(), Some(1));
    let printed = text(&output.stderr);
    assert!(
        printed.starts_with(&format!("error: {folder}/run.json: format version 2 ")),
        "{printed}"
    );
    assert!(printed.ends_with("update model-foundry, or log to another folder\n"), "{printed}");
    assert_eq!(experiment.text("metrics.jsonl"), before);
    Ok(())
}
