//! Disks that are full, that cut records short and that fail in the middle: acknowledged records are on the disk,
//! records never run together, and lost ones are counted.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use anyhow::Result;
use model_foundry::{
    Clock, Console, Durability, Error, LoggingConfig, OnError, Run, RunReader, Status, fields,
};
use model_foundry_tests::{
    ConsoleLines, Experiment, NO_EPOCH, command, eventually, log_step, model_foundry_on, program,
    steps_of, steps_read, text, without_wandb,
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::disks::TestDisk;
use crate::trainer::Trainer;

/// How many bytes of one file may wait in memory for the disk (`MAY_WAIT` in the host).
const MAY_WAIT: usize = 1 << 20;

/// A run on this disk that returns every error.
fn run_on(experiment: &Experiment, disk: &TestDisk) -> Result<Run> {
    Ok(experiment.builder().config(without_wandb()).disk(disk.boxed()).open()?)
}

/// The steps in metrics.jsonl.
fn steps(experiment: &Experiment) -> Vec<u64> {
    steps_of(experiment, "metrics.jsonl")
}

#[test]
fn full_disk_is_reported_and_survived() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let console = ConsoleLines::default();
    let config = LoggingConfig {
        log_metrics_every_n_steps: 1,
        console_level: model_foundry::Level::Critical,
        ..without_wandb()
    };
    let run = experiment
        .builder()
        .config(config)
        .disk(disk.boxed())
        .on_error(OnError::Report)
        .console(console.console())
        .open()?;
    let mut trainer = Trainer::new(&run)?;
    trainer.process_data()?;
    trainer.train(0, 10)?;

    // Three and a half lines still fit, then none.
    disk.has_room_for(500);
    trainer.train(10, 30)?;

    let tally = run.storage();
    assert!(tally.failures > 10 && tally.waiting > 10, "{tally:?}");
    assert_eq!(tally.refused, 0);
    let latest = tally.latest.expect("the latest failure");
    assert!(latest.contains("the disk is full") && latest.contains("free some space"), "{latest}");
    let lines = console.lines();
    assert_eq!(lines.len(), 1, "the failure is printed once: {lines:?}");
    assert!(lines[0].contains("the disk is full"));

    disk.has_room();
    trainer.train(30, 40)?;

    assert_eq!(run.storage().waiting, 0);
    let records = experiment.records("metrics.jsonl");
    // Without the summaries of epochs.
    let logged: Vec<_> = records.iter().filter_map(|record| record["step"].as_u64()).collect();
    assert_eq!(logged, (1..=40).collect::<Vec<_>>());
    let failures = run.storage().failures;
    drop(trainer);
    run.finish(Status::Completed, None);
    drop(run);
    let attempt = experiment.latest_attempt();
    assert_eq!(attempt["storage_failures"], failures);
    assert_eq!(attempt["refused_records"], 0);
    assert!(attempt["storage_error"].as_str().is_some_and(|error| error.contains("full")));
    let page = model_foundry_on("show", &experiment);
    let page = text(&page.stdout);
    assert!(page.contains(&format!("{failures} appends failed; no record was lost")), "{page}");
    Ok(())
}

#[test]
fn errors_are_returned_where_that_was_asked_for() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let run = run_on(&experiment, &disk)?;
    disk.has_room_for(0);

    let metrics = log_step(&run.metrics(), 1);
    let columns = run.metrics().columns(&["loss"])?.log(2, NO_EPOCH, &[0.5]);
    let record = run.logger("trainer").info("a record", &[]);
    let error = run.errors().log("ValueError", "", "", &[]);

    for result in [metrics, columns, record, error] {
        assert!(
            matches!(&result, Err(Error::Storage(problem)) if problem.contains("full")),
            "{result:?}"
        );
    }
    assert_eq!((run.storage().failures, run.storage().waiting), (4, 4));
    assert!(run.sync().is_err());
    disk.has_room();
    run.sync()?;
    assert_eq!(run.storage().waiting, 0);
    assert_eq!(steps(&experiment), [1, 2]);
    assert_eq!(
        (experiment.records("main.log").len(), experiment.records("errors.jsonl").len()),
        (1, 1)
    );
    Ok(())
}

#[test]
fn a_record_cut_short_at_any_byte_is_finished_by_the_next() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let run = run_on(&experiment, &disk)?;
    let metrics = run.metrics();
    log_step(&metrics, 1000)?;
    let length = experiment.text("metrics.jsonl").len() as u64;

    for cut in 0..=length {
        disk.has_room_for(cut as usize);
        let logged = log_step(&metrics, 2000 + 2 * cut);
        assert_eq!(logged.is_ok(), cut == length, "cut after {cut} bytes");
        disk.has_room();
        log_step(&metrics, 2000 + 2 * cut + 1)?;
    }

    let mut expected = vec![1000];
    expected.extend(2000..=2001 + 2 * length);
    assert_eq!(steps(&experiment), expected);
    assert_eq!((run.storage().failures, run.storage().waiting), (length, 0));
    Ok(())
}

#[test]
fn a_record_cut_short_at_any_byte_is_written_anew_behind_another_process() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let (run, other) = (run_on(&experiment, &disk)?, experiment.run());
    let (metrics, others) = (run.metrics(), other.metrics());
    log_step(&metrics, 1000)?;
    let length = experiment.text("metrics.jsonl").len() as u64;

    for cut in 0..length {
        disk.has_room_for(cut as usize);
        log_step(&metrics, 2000 + 3 * cut).expect_err("the record is cut short");
        log_step(&others, 2000 + 3 * cut + 1)?;
        disk.has_room();
        log_step(&metrics, 2000 + 3 * cut + 2)?;
    }
    drop((metrics, run, others, other));

    // The other process's record follows the fragment on the same line.
    let (mut found, damaged) = steps_read(&experiment)?;
    found.sort_unstable();
    let mut expected = vec![1000];
    expected.extend(2000..2000 + 3 * length);
    assert_eq!(found, expected);
    assert_eq!(damaged, length - 1, "a fragment at every cut but the first");
    // To a repair a line that lacks only its newline is whole. Then its record is in the file twice.
    RunReader::open(experiment.folder())?.repair()?;
    experiment.assert_undamaged();
    let mut repaired = steps(&experiment);
    repaired.sort_unstable();
    assert_eq!(repaired, expected);
    Ok(())
}

#[test]
fn a_record_cut_short_at_any_byte_is_moved_aside_after_a_crash() -> Result<()> {
    let experiment = Experiment::new();
    log_step(&experiment.run().metrics(), 1000)?;
    let length = experiment.text("metrics.jsonl").len();
    let mut torn = Vec::new();

    for cut in 0..length {
        let disk = TestDisk::default();
        let run = run_on(&experiment, &disk)?;
        let step = 1001 + cut as u64;
        log_step(&run.metrics(), step)?;
        disk.has_room_for(cut);
        log_step(&run.metrics(), 5000 + cut as u64).expect_err("the record is cut short");
        // At its end the run would write the rest of the record.
        disk.has_room_for(0);
        drop(run);
        let attempt = experiment.latest_attempt();
        assert_eq!(
            (&attempt["refused_records"], &attempt["storage_failures"]),
            (&json!(1), &json!(1))
        );
        let text = experiment.text("metrics.jsonl");
        torn.extend(text.lines().last().filter(|_| cut > 0).map(str::to_owned));
    }

    drop(experiment.run());
    assert_eq!(steps(&experiment), (1000..1001 + length as u64).collect::<Vec<_>>());
    let moved: Vec<_> = experiment.text("metrics.jsonl.torn").lines().map(str::to_owned).collect();
    assert_eq!(moved, torn);
    Ok(())
}

#[test]
fn a_disk_that_fails_for_a_moment_loses_nothing() -> Result<()> {
    // A run for each call to the disk: in one only this call fails, in another also the four after it.
    for failing in [1, 5] {
        for first in 0.. {
            let experiment = Experiment::new();
            let disk = TestDisk::default();
            let run = run_on(&experiment, &disk)?;
            disk.fails_at(first..first + failing);
            let (metrics, logger, errors) = (run.metrics(), run.logger("trainer"), run.errors());
            for step in 0..4_u64 {
                // Records that are not acknowledged must be written too.
                let _ = log_step(&metrics, step);
                let _ = logger.info("a record", &fields! { step });
                let _ = logger.error("a severe one", &fields! { step });
                let _ = errors.log("ValueError", "", "", &fields! { step });
                let _ = run.performance().record("forward", 0.5);
            }
            let calls = disk.calls();
            let failures = run.storage().failures;
            disk.fails_at(0..0);
            drop((metrics, logger, errors));
            drop(run);

            assert_eq!(steps(&experiment), [0, 1, 2, 3], "calls from {first} on fail");
            let count = |file| experiment.records(file).len();
            assert_eq!(count("main.log"), 8, "calls from {first} on fail");
            assert_eq!(count("errors.jsonl"), 4, "calls from {first} on fail");
            assert_eq!(count("performance.jsonl"), 4, "calls from {first} on fail");
            let attempt = experiment.latest_attempt();
            assert_eq!(attempt["refused_records"], 0);
            assert_eq!(attempt["storage_failures"], failures);
            if first >= calls {
                assert_eq!(failures, 0);
                break;
            }
            assert!(failures > 0, "calls from {first} on fail");
        }
    }
    Ok(())
}

#[test]
fn a_disk_that_fails_for_good_loses_no_more_than_is_counted() -> Result<()> {
    for first in 0.. {
        let experiment = Experiment::new();
        let disk = TestDisk::default();
        let run = run_on(&experiment, &disk)?;
        disk.fails_at(first..u64::MAX);
        let (mut acknowledged, mut logged) = (Vec::new(), 0);
        for step in 0..6_u64 {
            acknowledged.extend(log_step(&run.metrics(), step).is_ok().then_some(step));
            let _ = run.logger("trainer").info("a record", &fields! { step });
            logged += 2;
        }
        let calls = disk.calls();
        drop(run);

        let written =
            if experiment.path("metrics.jsonl").exists() { steps(&experiment) } else { vec![] };
        assert_eq!(written, acknowledged, "calls from {first} on fail");
        let records =
            experiment.path("main.log").exists().then(|| experiment.records("main.log").len());
        let attempt = experiment.latest_attempt();
        let lost = logged - written.len() - records.unwrap_or(0);
        assert_eq!(attempt["refused_records"], lost, "calls from {first} on fail");
        if first >= calls {
            break;
        }
    }
    Ok(())
}

#[test]
fn what_no_longer_fits_is_refused_and_counted() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let run = run_on(&experiment, &disk)?;
    let metrics = run.metrics();
    log_step(&metrics, 0)?;
    let note = "x".repeat(10_000);

    disk.has_room_for(0);
    for step in 1..=200 {
        let refused = metrics.log_step(step, NO_EPOCH, &fields! { note: note.as_str() });
        assert!(matches!(refused, Err(Error::Storage(_))), "{refused:?}");
    }
    let tally = run.storage();
    disk.has_room();
    log_step(&metrics, 201)?;
    disk.has_room_for(0);
    log_step(&metrics, 202).expect_err("the disk is full again");
    drop(metrics);
    drop(run);

    assert_eq!(tally.failures, 200);
    assert_eq!(tally.waiting + tally.refused, 200);
    assert_eq!(
        tally.waiting as usize,
        MAY_WAIT / experiment.text("metrics.jsonl").lines().nth(1).map_or(1, |line| line.len() + 1)
    );
    let mut expected: Vec<_> = (0..=tally.waiting).collect();
    expected.push(201);
    assert_eq!(steps(&experiment), expected, "the earliest records wait, later ones are refused");
    let attempt = experiment.latest_attempt();
    assert_eq!(attempt["refused_records"], tally.refused + 1);
    assert_eq!(attempt["storage_failures"], 201);
    let shown = model_foundry_on("show --json", &experiment);
    let shown: Value = serde_json::from_slice(&shown.stdout)?;
    assert_eq!(shown["run"]["attempts"][0]["refused_records"], tally.refused + 1);
    let page = model_foundry_on("show", &experiment);
    let page = text(&page.stdout);
    assert!(page.contains(&format!("{} records lost", tally.refused + 1)), "{page}");
    Ok(())
}

#[test]
fn a_record_larger_than_what_may_wait_is_kept_once_the_disk_takes_it() -> Result<()> {
    let large = "x".repeat(MAY_WAIT + 1);
    // After a record that waits, and after another process's unfinished line.
    for waits in [true, false] {
        let experiment = Experiment::new();
        let disk = TestDisk::default();
        let other = experiment.run();
        if !waits {
            std::fs::write(experiment.path("metrics.jsonl"), "{\"timestamp\":\"")?;
        }
        let run = run_on(&experiment, &disk)?;
        let metrics = run.metrics();
        if waits {
            disk.has_room_for(0);
            log_step(&metrics, 1).expect_err("the disk is full");
            disk.has_room();
        }

        metrics.log_step(2, NO_EPOCH, &fields! { note: large.as_str() })?;

        assert_eq!(run.storage().refused, 0);
        let (found, _) = steps_read(&experiment)?;
        assert_eq!(found, if waits { vec![1, 2] } else { vec![2] });
        drop(other);
    }
    Ok(())
}

#[test]
fn a_rotation_that_cannot_happen_loses_no_record() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let config = LoggingConfig { max_log_size_mb: 1, ..without_wandb() };
    let run = experiment.builder().config(config).disk(disk.boxed()).open()?;
    let logger = run.logger("trainer");
    let padding = "x".repeat(100_000);
    let mut record = 0;
    let mut log = |logger: &model_foundry::StructuredLogger| {
        record += 1;
        logger.info("a record", &fields! { record, padding: padding.as_str() })
    };
    for _ in 0..9 {
        log(&logger)?;
    }

    // The tenth record is cut short, and the next no longer fits into the file. A new logger reads the file's size
    // and would rotate it.
    disk.has_room_for(50_000);
    log(&logger).expect_err("the disk is full");
    for _ in 11..=12 {
        log(&run.logger("another")).expect_err("the disk is full");
    }
    disk.has_room();
    for _ in 13..=14 {
        log(&run.logger("another"))?;
    }

    let mut found = Vec::new();
    for file in ["main.log.1", "main.log"] {
        found.extend(
            experiment.records(file).iter().filter_map(|r| r["context"]["record"].as_u64()),
        );
    }
    assert_eq!(found, (1..=14).collect::<Vec<_>>());
    assert_eq!(run.storage().refused, 0);
    Ok(())
}

#[test]
fn a_failed_sync_is_told_and_the_record_is_kept() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let config = LoggingConfig { durability: Durability::Synced, ..without_wandb() };
    let run = experiment.builder().config(config).disk(disk.boxed()).open()?;
    let metrics = run.metrics();

    disk.syncs_fail(true);
    let failed = log_step(&metrics, 1);
    disk.syncs_fail(false);
    log_step(&metrics, 2)?;

    assert!(
        matches!(&failed, Err(Error::Storage(problem)) if problem.contains("the sync failed")),
        "{failed:?}"
    );
    let tally = run.storage();
    assert_eq!((tally.failures, tally.waiting, tally.refused), (1, 0, 0));
    assert_eq!(steps(&experiment), [1, 2], "the record is written once");
    Ok(())
}

#[test]
fn weights_and_biases_bytes_are_no_records() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let run = experiment.builder().disk(disk.boxed()).open()?;
    log_step(&run.metrics(), 1)?;
    disk.has_room_for(0);
    log_step(&run.metrics(), 2).expect_err("the disk is full");
    drop(run);

    let attempt = experiment.latest_attempt();
    assert_eq!(attempt["refused_records"], 1, "{attempt}");
    Ok(())
}

/// In another process, files may not grow beyond a limit: write(2) cuts a record short at the limit, then fails
/// with EFBIG and raises SIGXFSZ.
#[test]
fn a_size_limit_cuts_a_record_short_and_is_survived() -> Result<()> {
    const LIMIT: u64 = 20_000;
    let experiment = Experiment::new();
    let config = experiment.path("config.toml");
    std::fs::write(&config, "log_to_wandb = false\n")?;
    let mut process = command(program())
        .args(["log", "--json", "--dir"])
        .arg(experiment.folder())
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = Pid::from_raw(process.id().try_into()?);
    let limit = |current| prlimit(pid, Resource::Fsize, Rlimit { current, maximum: None });
    let mut stdin = process.stdin.take().expect("its standard input");
    let errors = BufReader::new(process.stderr.take().expect("its standard error")).lines();
    let mut errors = errors.map(|line| line.expect("text"));
    let mut feed = |step: u64| writeln!(stdin, "{{\"step\":{step},\"metrics\":{{\"loss\":0.5}}}}");

    feed(0)?;
    // To start, the program writes the compiled component, which is larger than the limit.
    eventually("the first record", || experiment.path("metrics.jsonl").exists());
    limit(Some(LIMIT))?;
    let mut step = 1;
    while std::fs::metadata(experiment.path("metrics.jsonl"))?.len() < LIMIT {
        feed(step)?;
        step += 1;
    }
    // The first failure is reported.
    let line = errors.next().expect("a line on standard error");
    assert!(line.starts_with("model-foundry: could not write a record"), "{line}");
    assert!(line.contains("raise `ulimit -f`"), "{line}");
    let fed = experiment.text("metrics.jsonl");
    assert_eq!(fed.len() as u64, LIMIT, "the record is cut short at the limit");
    assert!(!fed.ends_with('\n'));
    limit(None)?;
    feed(step)?;
    drop(stdin);
    let output = process.wait_with_output()?;

    assert_eq!(output.status.code(), Some(0), "every record is stored in the end");
    assert_eq!(errors.next(), None, "and reported once");
    let counts: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(counts["bad_lines"], 0);
    assert_eq!((&counts["logged"], &counts["not_stored"]), (&json!(step + 1), &json!(0)));
    assert_eq!(
        steps(&experiment),
        (0..=step).collect::<Vec<_>>(),
        "all records are in the file in the end"
    );
    let attempt = experiment.latest_attempt();
    assert!(attempt["storage_failures"].as_u64() >= Some(1), "{attempt}");
    assert_eq!(attempt["refused_records"], 0);
    Ok(())
}

#[test]
fn a_size_limit_for_good_loses_what_is_counted() -> Result<()> {
    let experiment = Experiment::new();
    let config = experiment.path("config.toml");
    std::fs::write(&config, "log_to_wandb = false\n")?;
    let script = format!(
        "for step in $(seq 0 499); do \
           printf '{{\"step\":%d,\"metrics\":{{\"note\":\"%10000d\"}}}}\\n' $step 0; \
         done | (ulimit -f 2048; exec '{}' log --json --dir '{}' --config '{}')",
        program().display(),
        experiment.folder().display(),
        config.display()
    );
    let output = command("bash").args(["-c", &script]).output()?;

    assert_eq!(output.status.code(), Some(1));
    let counts: Value = serde_json::from_slice(&output.stdout)?;
    let (logged, refused) = (counts["logged"].as_u64(), counts["not_stored"].as_u64());
    let (logged, refused) = (logged.unwrap_or_default(), refused.unwrap_or_default());
    assert_eq!(logged + refused, 500);
    assert!(logged > 100 && refused > 100, "{counts}");
    let attempt = experiment.latest_attempt();
    assert_eq!(attempt["refused_records"], refused);
    assert_eq!(attempt["status"], "failed");
    // The next attempt repairs the torn end and continues after it.
    let run = experiment.builder().clock(Clock::System).open();
    assert!(run.is_err(), "the folder belongs to another experiment");
    let name = experiment.folder().file_name().map(|name| name.to_string_lossy().into_owned());
    drop(
        Run::builder(&name.unwrap_or_default())
            .folder(experiment.folder())
            .console(Console::Silent)
            .open()?,
    );
    assert_eq!(steps(&experiment), (0..logged).collect::<Vec<_>>());
    assert!(experiment.path("metrics.jsonl.torn").exists());
    Ok(())
}
