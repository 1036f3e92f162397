//! `model-foundry verify`: find damaged lines, and repair files.

use std::fs;

use anyhow::Result;
use model_foundry_tests::{
    Experiment, each, log_steps, logged_experiment, model_foundry_on, printed, sentence, text,
};
use serde_json::{Value, json};

#[test]
fn verify_finds_damage_and_mends_it() -> Result<()> {
    let experiment = logged_experiment()?;
    let whole = experiment.text("metrics.jsonl");
    let (first, rest) = whole.split_once('\n').expect("lines");
    fs::write(experiment.path("metrics.jsonl"), format!("{first}\ngarbage\n{rest}"))?;

    let found = model_foundry_on("verify", &experiment);
    let as_json = model_foundry_on("verify --json", &experiment);
    let history = model_foundry_on("history", &experiment);
    let repaired = model_foundry_on("verify --repair", &experiment);
    let again = model_foundry_on("verify", &experiment);

    let codes = [&found, &as_json, &history, &repaired, &again].map(|output| output.status.code());
    assert_eq!(codes, [1, 1, 0, 0, 0].map(Some));
    let found = text(&found.stdout);
    let expected = format!(
        "damaged  metrics.jsonl  1 damaged line, 7 good ones\n  line 2, 8 bytes from byte {}: ",
        first.len() + 1
    );
    assert!(found.contains(&expected), "{found}");
    let reports: Value = serde_json::from_slice(&as_json.stdout)?;
    let damaged: Vec<_> = each(&reports)
        .flat_map(|report| each(&report["findings"]).map(|finding| (&report["file"], finding)))
        .map(|(file, finding)| (file, &finding["line"]))
        .collect();
    assert_eq!(damaged, [(&json!("metrics.jsonl"), &json!(2))]);
    let note = text(&history.stderr);
    assert!(note.starts_with("note: skipped metrics.jsonl line 2 ("), "{note}");
    assert!(text(&repaired.stdout).contains("  moved to metrics.jsonl.torn\n"));
    assert!(!text(&again.stdout).contains("damaged"));
    assert_eq!(experiment.text("metrics.jsonl"), whole);
    assert_eq!(experiment.text("metrics.jsonl.torn"), "garbage\n");
    Ok(())
}

#[test]
fn a_run_that_is_being_logged_is_not_mended() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    log_steps(&run, [1])?;

    let folder = experiment.folder().display();
    assert_eq!(
        sentence(&model_foundry_on("verify --repair", &experiment)),
        format!("{folder}: the run is being logged; repair it after it has ended")
    );
    assert!(printed(&model_foundry_on("show", &experiment)).starts_with("tiny  running for "));
    Ok(())
}
