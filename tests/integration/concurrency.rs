//! Several processes and threads that log to one run.

use std::collections::BTreeSet;

use anyhow::Result;
use model_foundry::{LoggingConfig, Query, RunReader, Status, fields};
use model_foundry_tests::{Experiment, NO_EPOCH, without_wandb};

use crate::processes::{Child, given, run_of_child, send};

/// A child's job: log to metrics.jsonl, main.log and errors.jsonl. The parent gives the number and the size of
/// the records, and how many files of 1 MiB main.log may have.
pub(crate) fn log_many() {
    let (process, records) = (given("PROCESS"), given("RECORDS"));
    let config = LoggingConfig {
        max_log_size_mb: 1,
        max_log_files: given("FILES") as u32,
        ..without_wandb()
    };
    let run = run_of_child().config(config).open().expect("the run opens");
    send("opened");
    let (metrics, logger) = (run.metrics(), run.logger("trainer"));
    let padding = "x".repeat(given("SIZE") as usize);
    for record in 0..records {
        let what = fields! { process, record };
        metrics.log_step(record, NO_EPOCH, &what).expect("the step is logged");
        let what = fields! { process, record, padding: padding.as_str() };
        logger.info("a record", &what).expect("the record is logged");
        if record % 10 == 0 {
            run.errors().log("ValueError", "", "", &what[..2]).expect("the error is logged");
        }
    }
}

/// Run this many children with the job "log many", all at once. Each must succeed.
pub(crate) fn processes_log(
    experiment: &Experiment,
    processes: u64,
    records: u64,
    size: u64,
    files: u64,
) {
    let children: Vec<_> = (0..processes)
        .map(|process| {
            let numbers =
                [("PROCESS", process), ("RECORDS", records), ("SIZE", size), ("FILES", files)];
            let variables = numbers.map(|(name, number)| (name, number.to_string()));
            Child::start("log many", experiment.folder(), &variables)
        })
        .collect();
    for child in children {
        child.ends_well();
    }
}

#[test]
fn concurrent_processes_share_a_run() -> Result<()> {
    const PROCESSES: u64 = 4;
    const RECORDS: u64 = 250;
    let experiment = Experiment::new();
    // The children join the attempt of this run.
    let run = experiment.run();

    processes_log(&experiment, PROCESSES, RECORDS, 100, 10);

    let expected: BTreeSet<_> = (0..PROCESSES)
        .flat_map(|process| (0..RECORDS).map(move |record| (process, record)))
        .collect();
    for (file, member) in [("metrics.jsonl", "metrics"), ("main.log", "context")] {
        let text = experiment.text(file);
        let mut found = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let record: serde_json::Value = serde_json::from_str(line)?;
            let number = |name: &str| record[member][name].as_u64().expect("a number");
            found.push((number("process"), number("record")));
        }
        assert_eq!(found.len(), expected.len(), "{file}");
        for process in 0..PROCESSES {
            let own = found.iter().filter(|(by, _)| *by == process).map(|(_, record)| *record);
            assert!(own.eq(0..RECORDS), "{file}: the records of a process are in its order");
        }
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{file}");
    }
    assert_eq!(experiment.records("errors.jsonl").len() as u64, PROCESSES * RECORDS / 10);
    let manifest = experiment.manifest();
    assert_eq!(manifest.attempts.len(), 1, "they joined one attempt");
    assert_eq!(manifest.attempts[0].status, Status::Running);
    drop(run);
    assert_eq!(experiment.manifest().attempts[0].status, Status::Completed);
    let mut reader = RunReader::open(experiment.folder())?;
    let (statistics, report) = reader.statistics(Query::default(), &["record".into()])?;
    assert_eq!((statistics[0].statistics.count, report.damage.lines), (PROCESSES * RECORDS, 0));
    assert_eq!(reader.errors(1)?.counts[0].count, PROCESSES * RECORDS / 10);
    Ok(())
}

#[test]
fn threads_share_a_run() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();

    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let run = run.clone();
            scope.spawn(move || {
                let (metrics, logger) = (run.metrics(), run.logger(&format!("thread {thread}")));
                for record in 0..100_u64 {
                    let what = fields! { thread, record };
                    metrics.log_step(record, NO_EPOCH, &what).expect("the step is logged");
                    logger.info("a record", &what).expect("the record is logged");
                    let _timed = run.performance().time_block("work");
                }
            });
        }
    });

    for (file, member) in [("metrics.jsonl", "metrics"), ("main.log", "context")] {
        let records = experiment.records(file);
        for thread in 0..8 {
            let own = records.iter().filter(|record| record[member]["thread"] == thread);
            let own = own.filter_map(|record| record[member]["record"].as_u64());
            assert!(own.eq(0..100), "{file}, thread {thread}");
        }
    }
    assert_eq!(run.performance().statistics("work")?.count, 800);
    Ok(())
}
