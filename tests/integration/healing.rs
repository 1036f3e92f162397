//! What a crash leaves in the files, and how it is repaired: torn ends, damaged lines, records glued to fragments.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use anyhow::Result;
use model_foundry::{Error, LoggingConfig, RunReader, Status, fields};
use model_foundry_tests::{Experiment, log_steps, steps_read};
use serde_json::json;

fn append(experiment: &Experiment, file: &str, bytes: &[u8]) -> Result<()> {
    let path = experiment.path(file);
    Ok(OpenOptions::new().append(true).create(true).open(path)?.write_all(bytes)?)
}

#[test]
fn a_torn_last_line_is_moved_aside_and_told() -> Result<()> {
    let torn = "{\"timestamp\":\"2025-01-02T03:04:05.678901Z\",\"st";
    let files = ["metrics.jsonl", "main.log", "errors.jsonl", "performance.jsonl"];
    let experiment = Experiment::new();
    let run = experiment.run();
    log_steps(&run, 0..3)?;
    run.logger("trainer").info("a record", &[])?;
    run.errors().log("ValueError", "", "", &[])?;
    run.performance().record("forward", 0.5)?;
    drop(run);
    let before: Vec<_> = files.iter().map(|file| experiment.text(file)).collect();
    for file in files {
        append(&experiment, file, torn.as_bytes())?;
    }

    let run = experiment.run();

    for (file, before) in files.iter().zip(&before) {
        let text = experiment.text(file);
        assert!(text.starts_with(before.as_str()), "{file}");
        assert_eq!(experiment.text(&format!("{file}.torn")), format!("{torn}\n"));
    }
    let notes: Vec<_> = experiment
        .records("main.log")
        .into_iter()
        .filter(|record| record["message"] == "a torn last line was moved aside")
        .collect();
    assert_eq!(notes.len(), files.len());
    for note in &notes {
        assert_eq!((&note["level"], &note["logger"]), (&json!("WARNING"), &json!("model_foundry")));
        assert_eq!(note["context"]["bytes"], torn.len());
        let file = note["context"]["file"].as_str().expect("a file");
        assert_eq!(note["context"]["moved_to"], format!("{file}.torn"));
    }
    log_steps(&run, 3..4)?;
    assert_eq!(steps_read(&experiment)?, (vec![0, 1, 2, 3], 0));
    // A second torn line is moved after the first.
    drop(run);
    append(&experiment, "metrics.jsonl", b"{")?;
    drop(experiment.run());
    assert_eq!(experiment.text("metrics.jsonl.torn"), format!("{torn}\n{{\n"));
    Ok(())
}

#[test]
fn a_file_that_is_one_torn_line_is_emptied() -> Result<()> {
    let experiment = Experiment::new();
    drop(experiment.run());
    // Longer than the block that the search for the last newline reads at a time.
    let torn = "x".repeat(200_000);
    append(&experiment, "metrics.jsonl", torn.as_bytes())?;
    log_steps(&experiment.run(), 0..1)?;
    assert_eq!(experiment.records("metrics.jsonl").len(), 1);
    assert_eq!(experiment.text("metrics.jsonl.torn").len(), torn.len() + 1);
    Ok(())
}

#[test]
fn beside_another_process_the_next_record_starts_a_line_of_its_own() -> Result<()> {
    let experiment = Experiment::new();
    let other = experiment.run();
    log_steps(&other, 0..1)?;
    append(&experiment, "metrics.jsonl", b"{\"timestamp\":\"2025")?;

    // The torn end may be a record that the other process is writing, so it stays.
    let run = experiment.run();
    log_steps(&run, 1..3)?;

    let text = experiment.text("metrics.jsonl");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[1]), (4, "{\"timestamp\":\"2025"));
    assert!(!experiment.path("metrics.jsonl.torn").exists());
    assert_eq!(steps_read(&experiment)?, (vec![0, 1, 2], 1));
    Ok(())
}

#[test]
fn damaged_lines_in_the_middle_are_skipped_and_mended() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    log_steps(&run, 0..5)?;
    run.errors().log("ValueError", "", "", &[])?;
    drop(run);
    let good = experiment.text("metrics.jsonl");
    let lines: Vec<_> = good.split_inclusive('\n').collect();
    // A line that is cut short, one of zeros as after a power cut, one that is not UTF-8, and one that lacks the
    // fields of a record.
    let damaged: [&[u8]; 4] = [
        b"{\"timestamp\":\n",
        &[b"\0".repeat(99), b"\n".to_vec()].concat(),
        b"{\"\xff\":1}\n",
        b"{}\n",
    ];
    let mut content = Vec::new();
    let mut expected = Vec::new();
    for (line, damaged) in lines.iter().zip(damaged) {
        content.extend_from_slice(line.as_bytes());
        let number = 2 * expected.len() as u64 + 2;
        expected.push((number, content.len() as u64, damaged.len() as u64));
        content.extend_from_slice(damaged);
    }
    content.extend_from_slice(lines[4].as_bytes());
    fs::write(experiment.path("metrics.jsonl"), &content)?;
    append(&experiment, "errors.jsonl", b"no error\n")?;

    assert_eq!(steps_read(&experiment)?, (vec![0, 1, 2, 3, 4], 4));
    let mut reader = RunReader::open(experiment.folder())?;
    assert_eq!(reader.errors(1)?.damaged_lines, 1);
    let reports = reader.verify()?;
    let metrics = reports.iter().find(|report| report.file == "metrics.jsonl").expect("a report");
    let found: Vec<_> =
        metrics.findings.iter().map(|found| (found.line, found.offset, found.length)).collect();
    assert_eq!(found, expected);
    assert!(metrics.findings.iter().all(|found| !found.problem.is_empty()));
    assert_eq!((metrics.good_lines, metrics.more), (5, 0));
    assert_eq!(
        fs::read(experiment.path("metrics.jsonl"))?,
        content,
        "verifying does not change the file"
    );

    reader.repair()?;

    assert_eq!(experiment.text("metrics.jsonl"), good);
    assert_eq!(fs::read(experiment.path("metrics.jsonl.torn"))?, damaged.concat());
    assert_eq!(experiment.text("errors.jsonl.torn"), "no error\n");
    experiment.assert_undamaged();
    assert_eq!(steps_read(&experiment)?, (vec![0, 1, 2, 3, 4], 0));
    Ok(())
}

#[test]
fn a_record_behind_another_s_fragment_is_delivered() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    log_steps(&run, 0..2)?;
    run.errors().log("ValueError", "", "", &[])?;
    drop(run);
    for file in ["metrics.jsonl", "errors.jsonl"] {
        let text = experiment.text(file);
        let last = text.lines().last().unwrap_or_default();
        // Fragments that end in a name, in a number, in a text, and before the newline. The record after each is whole.
        let glued: String =
            [2, 15, 40, last.len()].map(|cut| format!("{}{last}\n", &last[..cut])).concat();
        append(&experiment, file, glued.as_bytes())?;
    }

    assert_eq!(steps_read(&experiment)?, (vec![0, 1, 1, 1, 1, 1], 4));
    let mut reader = RunReader::open(experiment.folder())?;
    let errors = reader.errors(10)?;
    assert_eq!((errors.counts[0].count, errors.damaged_lines), (5, 4));
    reader.repair()?;
    assert_eq!(steps_read(&experiment)?, (vec![0, 1, 1, 1, 1, 1], 0));
    assert_eq!(reader.errors(10)?.counts[0].count, 5);
    assert_eq!(experiment.text("metrics.jsonl.torn").lines().count(), 4);
    Ok(())
}

#[test]
fn empty_lines_are_no_entries_and_no_damage() -> Result<()> {
    let experiment = Experiment::new();
    log_steps(&experiment.run(), 0..1)?;
    append(&experiment, "metrics.jsonl", b"\n\n")?;
    log_steps(&experiment.run(), 1..2)?;
    assert_eq!(steps_read(&experiment)?, (vec![0, 1], 0));
    experiment.assert_undamaged();
    Ok(())
}

#[test]
fn a_dead_run_is_mended_and_a_live_one_is_left_alone() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    log_steps(&run, 0..2)?;
    append(&experiment, "metrics.jsonl", b"torn")?;
    let mut reader = RunReader::open(experiment.folder())?;

    let refused = reader.repair();

    assert!(
        matches!(&refused, Err(Error::Path { problem, .. }) if problem.contains("being logged")),
        "{refused:?}"
    );
    assert!(experiment.text("metrics.jsonl").ends_with("torn"));
    // In run.json an attempt that died is still running.
    let manifest = fs::read(experiment.path("run.json"))?;
    drop(run);
    fs::write(experiment.path("run.json"), manifest)?;
    assert_eq!(reader.manifest()?.expect("run.json").attempts[0].status, Status::Died);
    reader.repair()?;
    assert_eq!(experiment.text("metrics.jsonl.torn"), "torn\n");
    assert_eq!(steps_read(&experiment)?, (vec![0, 1], 0));
    Ok(())
}

#[test]
fn mending_a_rotated_file_and_a_shard() -> Result<()> {
    let experiment = Experiment::new();
    let config = LoggingConfig { max_log_size_mb: 1, ..LoggingConfig::default() };
    let run = experiment.builder().rank(2).shards(true).config(config).open()?;
    log_steps(&run, 0..2)?;
    let padding = "x".repeat(600_000);
    for _ in 0..2 {
        run.logger("trainer").info("a record", &fields! { padding: padding.as_str() })?;
    }
    drop(run);
    let files = ["main.rank-00002.log.1", "metrics.rank-00002.jsonl"];
    for file in files {
        append(&experiment, file, b"{\"torn")?;
    }

    let mut reader = RunReader::open(experiment.folder())?;
    let reports = reader.repair()?;

    let repaired: Vec<_> = reports.iter().filter(|report| !report.findings.is_empty()).collect();
    assert_eq!(repaired.iter().map(|report| report.file.as_str()).collect::<Vec<_>>(), files);
    for file in files {
        assert_eq!(experiment.text(&format!("{file}.torn")), "{\"torn\n");
    }
    experiment.assert_undamaged();
    Ok(())
}
