//! Disks that are full, that cut records short and that fail in the middle: what is acknowledged is there,
//! records never run together, and what is lost is counted.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Result;
use model_foundry::{
    Clock, Console, Durability, Error, LoggingConfig, MetricsLogger, OnError, Query, Run,
    RunReader, Status, fields,
};
use model_foundry_tests::Experiment;
use parking_lot::Mutex;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::NO_EPOCH;
use crate::disks::TestDisk;
use crate::processes::{command, eventually, model_foundry, program, text};
use crate::trainer::Trainer;

/// How much of one file may wait for the disk (host/src/imports/files/pending.rs).
const MAY_WAIT: usize = 1 << 20;

/// Without the Weights & Biases log, whose writes would count too.
fn quiet() -> LoggingConfig {
    LoggingConfig { log_to_wandb: false, ..LoggingConfig::default() }
}

/// A run on this disk, errors returned.
fn run_on(experiment: &Experiment, disk: &TestDisk) -> Result<Run> {
    Ok(experiment.builder().config(quiet()).disk(disk.boxed()).open()?)
}

fn log(metrics: &MetricsLogger, step: u64) -> Result<(), Error> {
    metrics.log_step(step, NO_EPOCH, &fields! { loss: 0.5 })
}

/// The steps in metrics.jsonl, every line of which is whole.
fn steps(experiment: &Experiment) -> Vec<u64> {
    let records = experiment.records("metrics.jsonl");
    records.iter().map(|record| record["step"].as_u64().expect("a step")).collect()
}

/// The steps that a reader finds, and how many lines it skips.
fn steps_read(experiment: &Experiment) -> Result<(Vec<u64>, u64)> {
    let query = Query { first_step: None, last_step: None, summaries: true, all_attempts: true };
    let mut steps = Vec::new();
    let damage = RunReader::open(experiment.folder())?.history(query, &mut |block| {
        let entries = block.lines().map(serde_json::from_str::<Value>);
        steps.extend(entries.map(|entry| entry.expect("JSON")["step"].as_u64().expect("a step")));
        true
    })?;
    Ok((steps, damage.lines))
}

/// The latest attempt in run.json.
fn attempt(experiment: &Experiment) -> Result<Value> {
    let manifest: Value = serde_json::from_str(&experiment.text("run.json"))?;
    let attempts = manifest["attempts"].as_array().cloned().unwrap_or_default();
    Ok(attempts.into_iter().next_back().unwrap_or_default())
}

#[test]
fn full_disk_is_reported_and_survived() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let said = Arc::new(Mutex::new(Vec::new()));
    let lines = said.clone();
    let config = LoggingConfig {
        log_metrics_every_n_steps: 1,
        console_level: model_foundry::Level::Critical,
        ..quiet()
    };
    let run = experiment
        .builder()
        .config(config)
        .disk(disk.boxed())
        .on_error(OnError::Report)
        .console(Console::Custom(Arc::new(move |line| lines.lock().push(line.to_owned()))))
        .open()?;
    let mut trainer = Trainer::new(&run)?;
    trainer.process_data()?;
    trainer.train(0, 10)?;

    // Three more lines and a half, and then nothing for a while.
    disk.has_room_for(500);
    trainer.train(10, 30)?;

    let tally = run.storage();
    assert!(tally.failures > 10 && tally.waiting > 10, "{tally:?}");
    assert_eq!(tally.refused, 0);
    let latest = tally.latest.expect("what the disk said");
    assert!(latest.contains("the disk is full") && latest.contains("free some space"), "{latest}");
    assert_eq!(said.lock().len(), 1, "it is said once: {:?}", said.lock());
    assert!(said.lock()[0].contains("the disk is full"));

    disk.has_room();
    trainer.train(30, 40)?;

    assert_eq!(run.storage().waiting, 0);
    let records = experiment.records("metrics.jsonl");
    let logged: Vec<_> = records.iter().filter_map(|record| record["step"].as_u64()).collect();
    assert_eq!(logged, (1..=40).collect::<Vec<_>>());
    let failures = run.storage().failures;
    drop(trainer);
    run.finish(Status::Completed, None);
    drop(run);
    let attempt = attempt(&experiment)?;
    assert_eq!(attempt["storage_failures"], failures);
    assert_eq!(attempt["refused_records"], 0);
    assert!(attempt["storage_error"].as_str().is_some_and(|error| error.contains("full")));
    let page = model_foundry(["show".as_ref(), experiment.folder().as_os_str()]);
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

    let metrics = log(&run.metrics(), 1);
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
    log(&metrics, 1000)?;
    let length = experiment.text("metrics.jsonl").len() as u64;

    for cut in 0..=length {
        disk.has_room_for(cut as usize);
        let logged = log(&metrics, 2000 + 2 * cut);
        assert_eq!(logged.is_ok(), cut == length, "cut after {cut} bytes");
        disk.has_room();
        log(&metrics, 2000 + 2 * cut + 1)?;
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
    log(&metrics, 1000)?;
    let length = experiment.text("metrics.jsonl").len() as u64;

    for cut in 0..length {
        disk.has_room_for(cut as usize);
        log(&metrics, 2000 + 3 * cut).expect_err("the record is cut short");
        log(&others, 2000 + 3 * cut + 1)?;
        disk.has_room();
        log(&metrics, 2000 + 3 * cut + 2)?;
    }
    drop((metrics, run, others, other));

    // The other process' record stands behind the fragment, on the same line.
    let (mut found, damaged) = steps_read(&experiment)?;
    found.sort_unstable();
    let mut expected = vec![1000];
    expected.extend(2000..2000 + 3 * length);
    assert_eq!(found, expected);
    assert_eq!(damaged, length - 1, "a fragment at every cut but the first");
    // A line that lacks only its newline is whole for whoever mends it, and is there twice.
    let mut reader = RunReader::open(experiment.folder())?;
    reader.repair()?;
    assert!(reader.verify()?.iter().all(|report| report.findings.is_empty()));
    let mut mended = steps(&experiment);
    mended.sort_unstable();
    assert_eq!(mended, expected);
    Ok(())
}

#[test]
fn a_record_cut_short_at_any_byte_is_moved_aside_after_a_crash() -> Result<()> {
    let experiment = Experiment::new();
    log(&experiment.run().metrics(), 1000)?;
    let length = experiment.text("metrics.jsonl").len();
    let mut torn = Vec::new();

    for cut in 0..length {
        let disk = TestDisk::default();
        let run = run_on(&experiment, &disk)?;
        let step = 1001 + cut as u64;
        log(&run.metrics(), step)?;
        disk.has_room_for(cut);
        log(&run.metrics(), 5000 + cut as u64).expect_err("the record is cut short");
        // What it would do at its end cannot be done.
        disk.has_room_for(0);
        drop(run);
        let attempt = attempt(&experiment)?;
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
    // Every call fails once, in runs of their own, alone and with the four that follow.
    for failing in [1, 5] {
        for first in 0.. {
            let experiment = Experiment::new();
            let disk = TestDisk::default();
            let run = run_on(&experiment, &disk)?;
            disk.fails_at(first..first + failing);
            let (metrics, logger, errors) = (run.metrics(), run.logger("trainer"), run.errors());
            for step in 0..4_u64 {
                // Whether or not it is acknowledged.
                let _ = log(&metrics, step);
                let _ = logger.info("a record", &fields! { step });
                let _ = logger.error("a grave one", &fields! { step });
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
            let attempt = attempt(&experiment)?;
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
            acknowledged.extend(log(&run.metrics(), step).is_ok().then_some(step));
            let _ = run.logger("trainer").info("a record", &fields! { step });
            logged += 2;
        }
        let calls = disk.calls();
        drop(run);

        let kept =
            if experiment.path("metrics.jsonl").exists() { steps(&experiment) } else { vec![] };
        assert_eq!(kept, acknowledged, "calls from {first} on fail");
        let records =
            experiment.path("main.log").exists().then(|| experiment.records("main.log").len());
        let attempt = attempt(&experiment)?;
        let lost = logged - kept.len() - records.unwrap_or(0);
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
    log(&metrics, 0)?;
    let note = "x".repeat(10_000);

    disk.has_room_for(0);
    for step in 1..=200 {
        let refused = metrics.log_step(step, NO_EPOCH, &fields! { note: note.as_str() });
        assert!(matches!(refused, Err(Error::Storage(_))), "{refused:?}");
    }
    let tally = run.storage();
    disk.has_room();
    log(&metrics, 201)?;
    disk.has_room_for(0);
    log(&metrics, 202).expect_err("the disk is full again");
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
    assert_eq!(steps(&experiment), expected, "the earliest are kept");
    let attempt = attempt(&experiment)?;
    assert_eq!(attempt["refused_records"], tally.refused + 1);
    assert_eq!(attempt["storage_failures"], 201);
    let shown =
        model_foundry(["show".as_ref(), "--json".as_ref(), experiment.folder().as_os_str()]);
    let shown: Value = serde_json::from_slice(&shown.stdout)?;
    assert_eq!(shown["run"]["attempts"][0]["refused_records"], tally.refused + 1);
    let page = model_foundry(["show".as_ref(), experiment.folder().as_os_str()]);
    let page = text(&page.stdout);
    assert!(page.contains(&format!("{} records lost", tally.refused + 1)), "{page}");
    Ok(())
}

#[test]
fn a_record_larger_than_what_may_wait_is_kept_once_the_disk_takes_it() -> Result<()> {
    let large = "x".repeat(MAY_WAIT + 1);
    // Behind a record that waits, and behind another process' unfinished line.
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
            log(&metrics, 1).expect_err("the disk is full");
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
    let config = LoggingConfig { max_log_size_mb: 1, ..quiet() };
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

    // The tenth is cut short, and the next does not fit into the file any more: a logger that is new looks
    // at the file's size.
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
    let config = LoggingConfig { durability: Durability::Synced, ..quiet() };
    let run = experiment.builder().config(config).disk(disk.boxed()).open()?;
    let metrics = run.metrics();

    disk.syncs_fail(true);
    let failed = log(&metrics, 1);
    disk.syncs_fail(false);
    log(&metrics, 2)?;

    assert!(
        matches!(&failed, Err(Error::Storage(problem)) if problem.contains("platter")),
        "{failed:?}"
    );
    let tally = run.storage();
    assert_eq!((tally.failures, tally.waiting, tally.refused), (1, 0, 0));
    assert_eq!(steps(&experiment), [1, 2], "each once");
    Ok(())
}

#[test]
fn weights_and_biases_bytes_are_no_records() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let run = experiment.builder().disk(disk.boxed()).open()?;
    log(&run.metrics(), 1)?;
    disk.has_room_for(0);
    log(&run.metrics(), 2).expect_err("the disk is full");
    drop(run);

    let attempt = attempt(&experiment)?;
    assert_eq!(attempt["refused_records"], 1, "{attempt}");
    Ok(())
}

/// A file that may not grow beyond its limit, in a process of its own: write(2) cuts the record short at
/// the limit, and then fails by EFBIG and SIGXFSZ.
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
    let told = BufReader::new(process.stderr.take().expect("its standard error")).lines();
    let mut told = told.map(|line| line.expect("text"));
    let mut feed = |step: u64| writeln!(stdin, "{{\"step\":{step},\"metrics\":{{\"loss\":0.5}}}}");

    feed(0)?;
    // Its start needs larger files than these: those of the compiled component.
    eventually("the first record", || experiment.path("metrics.jsonl").exists());
    limit(Some(LIMIT))?;
    let mut step = 1;
    while std::fs::metadata(experiment.path("metrics.jsonl"))?.len() < LIMIT {
        feed(step)?;
        step += 1;
    }
    // Each that failed is told, by its line.
    let line = told.find(|line| line.starts_with("line ")).expect("a line on standard error");
    assert!(line.contains("raise `ulimit -f`"), "{line}");
    let fed = experiment.text("metrics.jsonl");
    assert_eq!(fed.len() as u64, LIMIT, "it was cut short at the limit");
    assert!(!fed.ends_with('\n'));
    limit(None)?;
    feed(step)?;
    drop(stdin);
    let output = process.wait_with_output()?;

    assert_eq!(output.status.code(), Some(1), "some records were refused at first");
    let counts: Value = serde_json::from_slice(&output.stdout)?;
    let failed = 1 + told.filter(|line| line.starts_with("line ")).count() as u64;
    assert_eq!(counts["bad_lines"], failed);
    assert_eq!((&counts["logged"], &counts["not_stored"]), (&json!(step + 1 - failed), &json!(0)));
    assert_eq!(steps(&experiment), (0..=step).collect::<Vec<_>>(), "and are there in the end");
    let attempt = attempt(&experiment)?;
    assert_eq!(
        (&attempt["storage_failures"], &attempt["refused_records"]),
        (&json!(failed), &json!(0))
    );
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
    let (logged, refused) = (counts["logged"].as_u64(), counts["bad_lines"].as_u64());
    let (logged, refused) = (logged.unwrap_or_default(), refused.unwrap_or_default());
    assert_eq!(logged + refused, 500);
    assert!(logged > 100 && refused > 100, "{counts}");
    let attempt = attempt(&experiment)?;
    assert_eq!(attempt["refused_records"], refused);
    assert_eq!(attempt["status"], "failed");
    // The next one finds a torn end, and goes on behind it.
    let run = experiment.builder().clock(Clock::System).open();
    assert!(run.is_err(), "the folder is another experiment's");
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
