//! The guarantees of `buffered`, `immediate` and `synced`.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use model_foundry::{Clock, Durability, LoggingConfig, Run, Status, StructuredLogger, fields};
use model_foundry_tests::{
    Experiment, NO_EPOCH, PATIENCE, eventually, log_steps, steps_of, without_wandb,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::disks::{HangingDisk, TestDisk};
use crate::heartbeat::{Heartbeat, beats, now, slack};
use crate::processes::{Child, given, run_of_child, send, wait_to_be_killed};

/// An interval longer than any test: whatever is written, the interval is not the reason.
const NEVER: u32 = 3_600_000;

/// The file of the heartbeat in a run folder.
const BEATS: &str = "beats";

fn config(durability: Durability, flush_interval_ms: u32) -> LoggingConfig {
    LoggingConfig { durability, flush_interval_ms, ..without_wandb() }
}

fn buffered(experiment: &Experiment, flush_interval_ms: u32) -> Result<Run> {
    let config = config(Durability::Buffered, flush_interval_ms);
    Ok(experiment.builder().config(config).open()?)
}

/// Log rows, and for every tenth step also metrics by name and a record.
fn log(run: &Run, logger: &StructuredLogger, steps: std::ops::Range<u64>) -> Result<()> {
    let columns = run.metrics().columns(&["loss"])?;
    for step in steps {
        columns.log(step, NO_EPOCH, &[0.5])?;
        if step % 10 == 0 {
            run.metrics().log_step(step, NO_EPOCH, &fields! { grad_norm: 1.5 })?;
            logger.info("a record", &fields! { step })?;
        }
    }
    Ok(())
}

fn lines(experiment: &Experiment, file: &str) -> usize {
    std::fs::read_to_string(experiment.path(file)).map_or(0, |text| text.lines().count())
}

/// A child's job: buffer a hundred steps, and wait to be killed.
pub(crate) fn buffer_and_wait() {
    let config = config(Durability::Buffered, given("FLUSH") as u32);
    let run = run_of_child().config(config).open().expect("the run opens");
    let logger = run.logger("trainer");
    log(&run, &logger, 0..100).expect("a hundred steps");
    send("buffered");
    wait_to_be_killed();
}

/// A child's job: log the time without end, and report the time at which each step was acknowledged.
pub(crate) fn buffer_until_killed() {
    let config = config(Durability::Buffered, given("FLUSH") as u32);
    let run = run_of_child().config(config).open().expect("the run opens");
    let columns = run.metrics().columns(&["at"]).expect("a column");
    let _heartbeat = Heartbeat::start(&run.folder().join(BEATS));
    for step in 0.. {
        // Microseconds since 1970 are exact in a float.
        columns.log(step, NO_EPOCH, &[now() as f64]).expect("the row is taken");
        send(&now().to_string());
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn buffered_records_appear_within_the_interval() -> Result<()> {
    const INTERVAL: u32 = 100;
    let experiment = Experiment::new();
    let run = buffered(&experiment, INTERVAL)?;
    let logger = run.logger("trainer");
    let _heartbeat = Heartbeat::start(&experiment.path(BEATS));

    for round in 1..=10 {
        let first = round as u64 * 20;
        log(&run, &logger, first..first + 20)?;
        let logged = now();
        eventually("the steps are written", || lines(&experiment, "metrics.jsonl") == round * 22);
        let seen = now();

        let took = Duration::from_micros(seen - logged);
        let slack = slack(&beats(&experiment.path(BEATS)), seen);
        let bound = Duration::from_millis(INTERVAL.into()) + slack;
        assert!(
            took < bound,
            "{took:?}, not {INTERVAL} ms, and threads were at most {slack:?} late"
        );
        assert_eq!(experiment.records("main.log").len(), round * 2);
    }
    Ok(())
}

#[test]
fn a_killed_process_loses_no_more_than_the_interval() {
    const INTERVAL: u64 = 200;
    const KILLS: u64 = 8;
    let mut lost = 0;
    for kill in 0..KILLS {
        let experiment = Experiment::new();
        let variables = [("FLUSH", INTERVAL.to_string())];
        let mut child = Child::start("buffer until killed", experiment.folder(), &variables);
        let mut acknowledged: Vec<u64> = Vec::new();
        let mut hear = |message: String| acknowledged.push(message.parse().expect("a time"));
        hear(child.message().expect("a first step"));
        // After one to four intervals, so that the kills meet different parts of one.
        let wait = Duration::from_millis(INTERVAL + kill * 3 * INTERVAL / KILLS);
        let started = Instant::now();
        while started.elapsed() < wait {
            hear(child.message().expect("the child logs until it is killed"));
        }
        let killed = now();
        child.kill().into_iter().for_each(hear);

        // The time at which each step on the disk was logged. The first kill may come before the first write, and any
        // kill may cut the last line short.
        let text = std::fs::read_to_string(experiment.path("metrics.jsonl")).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let written: Vec<u64> = whole
            .zip(0..)
            .map(|(line, step)| {
                let entry: Value = serde_json::from_str(line).expect("JSON");
                assert_eq!(entry["step"], step, "no step is missing before the last");
                entry["metrics"]["at"].as_f64().expect("a time") as u64
            })
            .collect();
        assert!(
            written.len() <= acknowledged.len() + 1,
            "only one step can be written and not yet acknowledged"
        );
        let beats = beats(&experiment.path(BEATS));
        let slack = slack(&beats, killed).max(slack(&acknowledged, killed));
        let bound = Duration::from_millis(INTERVAL) + slack;
        // The newest step on the disk, and the first acknowledged step that is not.
        for time in written.last().into_iter().chain(acknowledged.get(written.len())) {
            let before = Duration::from_micros(killed.saturating_sub(*time));
            assert!(
                before < bound,
                "kill {kill}: steps of the last {before:?} are lost, not of {INTERVAL} ms; threads \
                 were at most {slack:?} late"
            );
        }
        lost += acknowledged.len().saturating_sub(written.len());
    }
    // Otherwise the kills would show nothing.
    assert!(lost > 0, "no kill met a step that was acknowledged and not yet written");
}

#[test]
fn a_signal_that_ends_the_process_flushes_first() -> Result<()> {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let experiment = Experiment::new();
        let variables = [("FLUSH", NEVER.to_string())];
        let mut child = Child::start("buffer and wait", experiment.folder(), &variables);
        child.expect("buffered");
        assert_eq!(lines(&experiment, "metrics.jsonl"), 0, "nothing is written yet");

        child.signal(signal);
        let (_, status) = child.end();

        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(status.signal(), Some(signal.as_raw()), "the signal ends it");
        assert_eq!(experiment.records("metrics.jsonl").len(), 110);
        assert_eq!(experiment.records("main.log").len(), 10);
    }
    Ok(())
}

#[test]
fn whatever_ends_a_run_flushes() -> Result<()> {
    type End = fn(Run, StructuredLogger);
    let ends: [(&str, End, Status); 4] = [
        ("a drop", |run, logger| drop((logger, run)), Status::Completed),
        ("a finish", |run, _| run.finish(Status::Interrupted, Some(130)), Status::Interrupted),
        ("a flush", |run, _| run.flush(), Status::Completed),
        (
            "a panic",
            |run, logger| {
                let training = move || {
                    let _held = (logger, run);
                    panic!("the training fails");
                };
                assert!(std::thread::spawn(training).join().is_err());
            },
            Status::Failed,
        ),
    ];
    for (name, end, status) in ends {
        let experiment = Experiment::new();
        let run = buffered(&experiment, NEVER)?;
        let logger = run.logger("trainer");
        log(&run, &logger, 0..100)?;
        assert_eq!(lines(&experiment, "metrics.jsonl"), 0, "{name}: nothing is written yet");

        end(run, logger);

        assert_eq!(experiment.records("metrics.jsonl").len(), 110, "{name}");
        assert_eq!(experiment.records("main.log").len(), 10, "{name}");
        assert_eq!(experiment.manifest().attempts[0].status, status, "{name}");
    }
    Ok(())
}

#[test]
fn a_record_carries_the_time_when_it_was_logged() -> Result<()> {
    let experiment = Experiment::new();
    let run = buffered(&experiment, NEVER)?;
    let columns = run.metrics().columns(&["loss"])?;
    let logger = run.logger("trainer");
    for step in 0..3 {
        columns.log(step, NO_EPOCH, &[0.5])?;
        run.metrics().log_step(step, NO_EPOCH, &fields! { lr: 0.5 })?;
        logger.info("a record", &[])?;
        experiment.clock.advance(1_000_000_000);
    }
    run.flush();

    let times = |file: &str| -> Vec<String> {
        let records = experiment.records(file);
        let times = records.iter().filter_map(|record| record["timestamp"].as_str());
        times.map(|time| time[17..19].to_owned()).collect()
    };
    assert_eq!(times("metrics.jsonl"), ["05", "05", "06", "06", "07", "07"]);
    assert_eq!(times("main.log"), ["05", "06", "07"]);
    Ok(())
}

#[test]
fn eight_threads_share_the_queue() -> Result<()> {
    const ROWS: u64 = 20_000;
    let experiment = Experiment::new();
    let run = buffered(&experiment, 20)?;

    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let run = run.clone();
            scope.spawn(move || {
                let columns = run.metrics().columns(&["thread", "row"]).expect("two columns");
                let logger = run.logger("trainer");
                for row in 0..ROWS {
                    let logged = columns.log(row, NO_EPOCH, &[thread as f64, row as f64]);
                    logged.expect("the row is taken");
                    if row % 500 == 0 {
                        logger.info("a record", &fields! { thread, row }).expect("a record");
                    }
                }
            });
        }
    });
    run.flush();

    let mut next = [0; 8];
    for record in experiment.records("metrics.jsonl") {
        let number = |name: &str| record["metrics"][name].as_f64().expect("a number");
        let thread = number("thread") as usize;
        assert_eq!(number("row"), f64::from(next[thread]), "the rows of a thread are in its order");
        next[thread] += 1;
    }
    assert_eq!(next, [ROWS as u32; 8]);
    assert_eq!(experiment.records("main.log").len() as u64, 8 * ROWS / 500);
    Ok(())
}

/// More steps than fit into the queue twice (`MOST_ROWS` in the host).
const TOO_MANY: u64 = 140_000;

/// Log this many steps by name, on another thread.
fn log_on_a_thread(run: Run, steps: u64) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || log_steps(&run, 0..steps).expect("the steps are taken"))
}

#[test]
fn a_full_queue_waits_and_loses_nothing() -> Result<()> {
    let experiment = Experiment::new();
    let disk = HangingDisk::default();
    let config = config(Durability::Buffered, 1);
    let run = experiment.builder().config(config).disk(Box::new(disk.clone())).open()?;

    let logging = log_on_a_thread(run.clone(), TOO_MANY);
    // The thread continues while the disk hangs, until the queue is full.
    eventually("a full queue", || run.queue_waits() > 0);
    assert!(!logging.is_finished());
    disk.release();
    logging.join().expect("the thread ends");
    run.flush();

    assert!(steps_of(&experiment, "metrics.jsonl").into_iter().eq(0..TOO_MANY));
    Ok(())
}

#[test]
fn training_goes_on_while_the_disk_hangs() -> Result<()> {
    let experiment = Experiment::new();
    let disk = HangingDisk::default();
    let config = config(Durability::Buffered, 1);
    let run = experiment.builder().config(config).disk(Box::new(disk.clone())).open()?;
    let columns = run.metrics().columns(&["loss"])?;

    let start = Instant::now();
    for step in 0..10_000 {
        columns.log(step, NO_EPOCH, &[0.5])?;
    }
    let took = start.elapsed();

    assert!(took < PATIENCE / 10, "{took:?} for ten thousand steps that the disk does not take");
    assert_eq!(run.queue_waits(), 0);
    disk.release();
    run.flush();
    assert_eq!(lines(&experiment, "metrics.jsonl"), 10_000);
    Ok(())
}

#[test]
fn a_run_that_has_ended_takes_records_all_the_same() -> Result<()> {
    for durability in [Durability::Buffered, Durability::Immediate, Durability::Synced] {
        let experiment = Experiment::new();
        let run = experiment.builder().config(config(durability, NEVER)).open()?;
        let columns = run.metrics().columns(&["loss"])?;
        columns.log(0, NO_EPOCH, &[0.5])?;
        run.finish(Status::Completed, None);

        columns.log(1, NO_EPOCH, &[0.5])?;
        run.metrics().log_step(2, NO_EPOCH, &fields! { loss: 0.5 })?;
        run.logger("trainer").info("after the end", &[])?;
        run.flush();

        assert_eq!(run.metrics().statistics("loss")?.count, 3, "{durability:?}");
        assert_eq!(experiment.records("metrics.jsonl").len(), 3, "{durability:?}");
        assert_eq!(experiment.records("main.log").len(), 1, "{durability:?}");
    }
    Ok(())
}

#[test]
fn synced_brings_every_record_to_the_disk() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let config = config(Durability::Synced, 200);
    let run = experiment.builder().config(config).disk(disk.boxed()).open()?;
    let columns = run.metrics().columns(&["loss"])?;
    let logger = run.logger("trainer");

    for step in 0..5 {
        columns.log(step, NO_EPOCH, &[0.5])?;
        logger.info("a record", &fields! { step })?;
        run.performance().record("step", 0.5)?;
        run.errors().log("ValueError", "", "", &[])?;
        assert_eq!(disk.syncs(), 4 * (step + 1));
    }
    Ok(())
}

#[test]
fn grave_records_reach_the_disk_under_every_durability() -> Result<()> {
    for durability in [Durability::Buffered, Durability::Immediate] {
        let experiment = Experiment::new();
        let disk = TestDisk::default();
        let run =
            experiment.builder().config(config(durability, NEVER)).disk(disk.boxed()).open()?;
        let logger = run.logger("trainer");

        run.metrics().log_step(1, NO_EPOCH, &fields! { loss: 0.5 })?;
        logger.info("a record", &[])?;
        logger.warning("another", &[])?;
        assert_eq!(disk.syncs(), 0, "{durability:?}");
        logger.error("a severe one", &[])?;
        assert_eq!(disk.syncs(), 1, "{durability:?}");
        logger.critical("a more severe one", &[])?;
        assert_eq!(disk.syncs(), 2, "{durability:?}");
        run.errors().log("ValueError", "", "", &[])?;
        assert_eq!(disk.syncs(), 3, "{durability:?}");

        // Earlier records precede it in the file.
        let records = experiment.records("main.log");
        let messages: Vec<_> =
            records.iter().filter_map(|record| record["message"].as_str()).collect();
        assert_eq!(messages, ["a record", "another", "a severe one", "a more severe one"]);
    }
    Ok(())
}

#[test]
fn sync_brings_what_is_buffered_to_the_disk() -> Result<()> {
    let experiment = Experiment::new();
    let disk = TestDisk::default();
    let config = config(Durability::Buffered, NEVER);
    let run = experiment.builder().clock(Clock::System).config(config).disk(disk.boxed()).open()?;
    let logger = run.logger("trainer");
    log(&run, &logger, 0..100)?;
    assert_eq!(disk.calls(), 0);
    run.sync()?;
    assert_eq!(lines(&experiment, "metrics.jsonl"), 110);
    assert!(disk.syncs() >= 2, "metrics.jsonl and main.log");
    Ok(())
}

#[test]
fn a_run_that_ends_while_a_thread_waits_for_room_loses_nothing() -> Result<()> {
    let experiment = Experiment::new();
    let disk = HangingDisk::default();
    let config = config(Durability::Buffered, 1);
    let run = experiment.builder().config(config).disk(Box::new(disk.clone())).open()?;
    let logging = log_on_a_thread(run.clone(), TOO_MANY);
    eventually("a full queue", || run.queue_waits() > 0);

    let own = run.clone();
    let ending = std::thread::spawn(move || own.finish(Status::Interrupted, None));
    disk.release();
    ending.join().expect("the run ends");
    logging.join().expect("the thread ends");

    // A step that was logged after the end may precede the ones that were still buffered then.
    let mut steps = steps_of(&experiment, "metrics.jsonl");
    steps.sort_unstable();
    assert!(steps.into_iter().eq(0..TOO_MANY));
    Ok(())
}
