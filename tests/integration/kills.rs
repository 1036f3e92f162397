//! `kill -9` at any moment loses no acknowledged record.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use model_foundry::{LoggingConfig, RunReader, Status, fields};
use model_foundry_tests::{EVERYTHING, Experiment};
use serde_json::Value;

use crate::processes::{Child, given, run_of_child, send};

/// How many processes log at the same time, and how many are killed in each of their places.
const AT_ONCE: u64 = 3;
const KILLS_EACH: u64 = 110;

/// Logs that rotate and are never pruned.
fn config() -> LoggingConfig {
    LoggingConfig { max_log_size_mb: 1, max_log_files: 1_000_000, ..LoggingConfig::default() }
}

/// A child's job: log to every file without end, and report each acknowledged record. Every third record is large,
/// so that a kill may hit its write.
pub(crate) fn log_until_killed() {
    let process = given("PROCESS");
    let run = run_of_child().config(config()).open().expect("the run opens");
    let (metrics, logger, errors) = (run.metrics(), run.logger("trainer"), run.errors());
    let large = "x".repeat(60_000);
    for record in 0_u64.. {
        let note = if record % 3 == 0 { large.as_str() } else { "" };
        let what = fields! { process, record, note };
        metrics.log_step(record, 0.5, &what).expect("the step is logged");
        send(&format!("metrics {record}"));
        logger.info("a record", &what).expect("the record is logged");
        send(&format!("main {record}"));
        // An error waits for the disk, which gives the other processes time to run.
        if record % 16 == 10 {
            errors.log("ValueError", "", "", &what).expect("the error is logged");
            send(&format!("errors {record}"));
        }
    }
}

/// The acknowledged records: file, process and number.
type Acknowledged = Vec<(String, u64, u64)>;

/// Start one process after another, and kill each a few milliseconds after its first message, every fourth a few
/// milliseconds after its start.
fn kill_again_and_again(folder: &Path, slot: u64) -> Acknowledged {
    let mut acknowledged = Vec::new();
    for kill in 0..KILLS_EACH {
        let process = kill * AT_ONCE + slot;
        let mut child =
            Child::start("log until killed", folder, &[("PROCESS", process.to_string())]);
        let mut messages = Vec::new();
        // Spread over the opening of a run and over the logging of several records.
        let wait = Duration::from_micros(kill * 7919 % 24_000);
        if kill % 4 != 0 {
            messages.extend(child.message());
        }
        sleep(wait);
        messages.extend(child.kill());
        for line in messages {
            let (file, record) = line.split_once(' ').expect("a file and a record");
            acknowledged.push((file.to_owned(), process, record.parse().expect("a number")));
        }
    }
    acknowledged
}

/// How many times each record is in a file.
type Found = HashMap<(u64, u64), u32>;

fn count(found: &mut Found, what: &Value) {
    let number = |name: &str| what[name].as_u64().unwrap_or(u64::MAX);
    *found.entry((number("process"), number("record"))).or_default() += 1;
}

fn metrics_read(experiment: &Experiment) -> Result<(Found, u64)> {
    let mut found = Found::new();
    let report = RunReader::open(experiment.folder())?.history(EVERYTHING, &mut |block| {
        for line in block.lines().filter(|line| !line.is_empty()) {
            let entry: Value = serde_json::from_str(line).expect("JSON");
            count(&mut found, &entry["metrics"]);
        }
        true
    })?;
    Ok((found, report.damage.lines))
}

/// The records of a log and of its rotated files, every line of which must be whole.
fn records_of_all(experiment: &Experiment, file: &str) -> Result<Found> {
    let mut found = Found::new();
    for file in experiment.with_rotated(file) {
        let text = experiment.text(&file);
        // A process that joins while another is in the middle of a write may leave an empty line.
        for line in text.lines().filter(|line| !line.is_empty()) {
            let record: Value = serde_json::from_str(line)?;
            if record["context"]["process"].is_u64() {
                count(&mut found, &record["context"]);
            }
        }
    }
    Ok(found)
}

fn nothing_is_lost(acknowledged: &BTreeMap<String, Vec<(u64, u64)>>, file: &str, found: &Found) {
    let lost: Vec<_> =
        acknowledged[file].iter().filter(|record| !found.contains_key(record)).collect();
    assert!(lost.is_empty(), "{file}: {} records are lost: {lost:?}", lost.len());
    let twice: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{file}: some records are there twice: {twice:?}");
}

#[test]
fn killed_process_loses_nothing() -> Result<()> {
    let experiment = Experiment::new();
    let folder = experiment.folder();

    let all: Acknowledged = std::thread::scope(|scope| {
        let slots: Vec<_> = (0..AT_ONCE)
            .map(|slot| scope.spawn(move || kill_again_and_again(folder, slot)))
            .collect();
        slots.into_iter().flat_map(|slot| slot.join().expect("a slot")).collect()
    });
    let mut acknowledged: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for (file, process, record) in all {
        acknowledged.entry(file).or_default().push((process, record));
    }

    // As the kills left the files, with torn lines.
    let mut reader = RunReader::open(folder)?;
    let died = reader.manifest()?.expect("run.json").latest().map(|latest| latest.status.clone());
    assert_eq!(died, Some(Status::Died));
    let (found, damaged) = metrics_read(&experiment)?;
    nothing_is_lost(&acknowledged, "metrics", &found);

    // The next attempt repairs torn ends.
    drop(experiment.builder().config(config()).open()?);
    for file in ["metrics.jsonl", "main.log", "errors.jsonl"] {
        assert!(experiment.text(file).ends_with('\n'), "{file} ends with a line");
    }
    let (found, _) = metrics_read(&experiment)?;
    nothing_is_lost(&acknowledged, "metrics", &found);

    // `repair` removes the fragments between records, and nothing else.
    let reports = reader.repair()?;
    let repaired: usize = reports.iter().map(|report| report.findings.len()).sum();
    experiment.assert_undamaged();
    let (found, damaged_after) = metrics_read(&experiment)?;
    assert_eq!(damaged_after, 0);
    nothing_is_lost(&acknowledged, "metrics", &found);
    nothing_is_lost(&acknowledged, "main", &records_of_all(&experiment, "main.log")?);
    nothing_is_lost(&acknowledged, "errors", &records_of_all(&experiment, "errors.jsonl")?);
    let rotated = reports.iter().filter(|report| report.file.starts_with("main.log.")).count();
    assert!(rotated > 2, "main.log rotated {rotated} times while processes logged to it");
    println!(
        "{} kills: {} metrics, {} records and {} errors acknowledged; {rotated} rotated files; {damaged} \
         damaged lines in metrics.jsonl, {repaired} repaired in all files",
        AT_ONCE * KILLS_EACH,
        acknowledged["metrics"].len(),
        acknowledged["main"].len(),
        acknowledged["errors"].len(),
    );
    Ok(())
}
