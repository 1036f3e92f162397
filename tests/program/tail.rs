//! `model-foundry tail`: the last lines of a file, and those that follow.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc::channel;

use anyhow::Result;
use model_foundry::{LoggingConfig, fields};
use model_foundry_tests::{
    Experiment, PATIENCE, Workplace, command, eventually, logged_experiment, model_foundry_on,
    printed, program, sentence, text,
};
use serde_json::Value;

#[test]
fn tail_prints_the_last_lines() -> Result<()> {
    let experiment = logged_experiment()?;
    let metrics = experiment.text("metrics.jsonl");
    let errors = experiment.text("errors.jsonl");

    let tail = |options: &str| printed(&model_foundry_on(&format!("tail {options}"), &experiment));
    let last: String = metrics.split_inclusive('\n').skip(5).collect();
    assert_eq!(tail("--json --file metrics -n 2"), last);
    assert_eq!(tail("--json --file metrics -n 0"), "");
    assert_eq!(tail("--json --file metrics -n 99"), metrics);
    assert_eq!(tail("--json --file errors"), errors);
    assert_eq!(tail("--json"), experiment.text("main.log"));
    let error = sentence(&model_foundry_on("tail --file console", &experiment));
    assert!(error.starts_with(&experiment.path("console.log").display().to_string()), "{error}");
    Ok(())
}

#[test]
fn tail_shows_records_to_people() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    run.logger("train").warning("the loss\njumped", &fields! { loss: 7.512345, step: 10 })?;
    run.metrics().log_step(10, 0.5, &fields! { loss: f64::NAN, lr: 3e-4, seen: 8500 })?;
    run.metrics().log_epoch_summary(1, &fields! { val_loss: 0.25 })?;
    run.performance().record("forward", 0.25)?;
    run.errors().log("ValueError", "bad value", "line 1", &[])?;
    let tail =
        |file: &str| printed(&model_foundry_on(&format!("tail --file {file} -n 2"), &experiment));

    insta::assert_snapshot!(tail("main"), @"2025-01-02 03:04:05 WARNING train the loss jumped  loss=7.5123 step=10");
    insta::assert_snapshot!(tail("metrics"), @r"
    2025-01-02 03:04:05 step 10 epoch 0.5  loss NaN  lr 3.000e-4  seen 8500
    2025-01-02 03:04:05 summary epoch 1  val_loss 0.25
    ");
    insta::assert_snapshot!(tail("performance"), @"2025-01-02 03:04:05 forward 250.0 ms");
    insta::assert_snapshot!(tail("errors"), @"2025-01-02 03:04:05 ValueError: bad value");
    Ok(())
}

#[test]
fn tail_stops_when_the_run_ends() -> Result<()> {
    let place = Workplace::new();
    let script = "echo 'step 1: loss 0.5'; sleep 2; printf 'step 2: loss 0.25'";
    let arguments = ["run", "--quiet", "--experiment", "tiny", "sh", "-c", script];
    let mut run = place.command(&arguments).stdout(Stdio::null()).spawn()?;
    eventually("it logs", || place.path("runs/tiny/console.log").exists());

    let followed = place.model_foundry(&["tail", "-f", "--file", "console"]);

    assert_eq!(text(&followed.stdout), "step 1: loss 0.5\nstep 2: loss 0.25\n");
    assert_eq!(text(&followed.stderr), "note: the run has ended: completed\n");
    assert!(run.wait()?.success());
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
        .args(["tail", "--follow", "--json", "-n", "1"])
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
