//! `model-foundry tail`: the last lines of a file, and those that follow.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc::channel;

use anyhow::Result;
use model_foundry::{LoggingConfig, fields};
use model_foundry_tests::{
    Experiment, PATIENCE, command, logged_experiment, model_foundry_on, printed, program, sentence,
};
use serde_json::Value;

#[test]
fn tail_prints_the_last_lines() -> Result<()> {
    let experiment = logged_experiment()?;
    let metrics = experiment.text("metrics.jsonl");
    let errors = experiment.text("errors.jsonl");

    let last: String = metrics.split_inclusive('\n').skip(5).collect();
    assert_eq!(printed(&model_foundry_on("tail --file metrics -n 2", &experiment)), last);
    assert_eq!(printed(&model_foundry_on("tail --file metrics -n 0", &experiment)), "");
    assert_eq!(printed(&model_foundry_on("tail --file metrics -n 99", &experiment)), metrics);
    assert_eq!(printed(&model_foundry_on("tail --file errors --json", &experiment)), errors);
    assert_eq!(printed(&model_foundry_on("tail", &experiment)), experiment.text("main.log"));
    let error = sentence(&model_foundry_on("tail --file console", &experiment));
    assert!(error.starts_with(&experiment.path("console.log").display().to_string()), "{error}");
    Ok(())
}

#[test]
fn tail_follows_over_a_rotation() -> Result<()> {
    let experiment = Experiment::new();
    let config = LoggingConfig { max_log_size_mb: 1, ..LoggingConfig::default() };
    let run = experiment.builder().config(config).open()?;
    let logger = run.logger("trainer");
    let padding = "x".repeat(300_000);
    let log = |record: u64| logger.info("", &fields! { record, padding: padding.as_str() });
    log(0)?;
    log(1)?;
    let mut process = command(program())
        .args(["tail", "--follow", "-n", "1"])
        .arg(experiment.folder())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(process.stdout.take().expect("its output"));
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let next = || -> Result<Value> {
        let record: Value = serde_json::from_str(&lines.recv_timeout(PATIENCE)?)?;
        Ok(record["context"]["record"].clone())
    };

    let last = next();
    // Each line is awaited: if the log rotated twice between two polls, only the newest file would be read.
    let followed: Result<Vec<_>> = (2..8)
        .map(|record| {
            log(record)?;
            next()
        })
        .collect();

    process.kill()?;
    process.wait()?;
    assert_eq!(last?, 1);
    assert_eq!(followed?, [2, 3, 4, 5, 6, 7]);
    assert!(experiment.path("main.log.2").exists(), "it rotated twice");
    reader.join().expect("the reader ends")?;
    Ok(())
}
