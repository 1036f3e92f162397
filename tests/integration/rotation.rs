//! Logs that rotate by size, and are pruned to a number of files.

use std::collections::BTreeMap;

use anyhow::Result;
use model_foundry::{LoggingConfig, Run, fields};
use model_foundry_tests::{Experiment, NO_EPOCH, without_wandb};
use serde_json::Value;

use crate::concurrency::processes_log;

/// The smallest limit that can be configured.
const LIMIT: u64 = 1 << 20;

/// A run that rotates at the smallest limit and retains this many files of a log.
fn run_with_files(experiment: &Experiment, max_log_files: u32) -> Result<Run> {
    let config = LoggingConfig { max_log_size_mb: 1, max_log_files, ..without_wandb() };
    Ok(experiment.builder().config(config).open()?)
}

/// Log this many records of about 50 kB, numbered from `first`.
fn log(run: &Run, first: u64, records: u64) -> Result<()> {
    let logger = run.logger("trainer");
    let padding = "x".repeat(50_000);
    for record in first..first + records {
        logger.info("a record", &fields! { record, padding: padding.as_str() })?;
    }
    Ok(())
}

/// The sizes of main.log and its rotated files by age: 0 for main.log, 1 for main.log.1.
fn files(experiment: &Experiment) -> Result<BTreeMap<u32, u64>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(experiment.folder())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(age) = name.strip_prefix("main.log") {
            let age = age.strip_prefix('.').map_or(Ok(0), str::parse)?;
            files.insert(age, entry.metadata()?.len());
        }
    }
    Ok(files)
}

/// The numbers in main.log and its rotated files, oldest first.
fn numbers(experiment: &Experiment) -> Vec<u64> {
    let files = experiment.with_rotated("main.log");
    let records = files.iter().flat_map(|file| experiment.records(file));
    records.filter_map(|record| record["context"]["record"].as_u64()).collect()
}

#[test]
fn log_files_rotate_by_size() -> Result<()> {
    let experiment = Experiment::new();
    let run = run_with_files(&experiment, 100)?;

    log(&run, 0, 100)?;

    let files = files(&experiment)?;
    assert_eq!(files.len(), 5, "20 records fit into a file: {files:?}");
    assert!(files.keys().copied().eq(0..5), "{files:?}");
    for (age, size) in &files {
        assert!(*size <= LIMIT, "{files:?}");
        assert!(*age == 0 || *size > LIMIT - 51_000, "rotated files are full: {files:?}");
    }
    assert_eq!(numbers(&experiment), (0..100).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn log_files_pruned_to_max() -> Result<()> {
    let experiment = Experiment::new();
    let run = run_with_files(&experiment, 3)?;

    log(&run, 0, 100)?;

    let files = files(&experiment)?;
    assert!(files.keys().copied().eq(0..3), "{files:?}");
    assert_eq!(
        numbers(&experiment),
        (40..100).collect::<Vec<_>>(),
        "the newest files are retained"
    );
    // Only one file.
    let experiment = Experiment::new();
    let run = run_with_files(&experiment, 1)?;
    log(&run, 0, 45)?;
    assert_eq!(self::files(&experiment)?.len(), 1);
    assert_eq!(numbers(&experiment), (40..45).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_later_attempt_goes_on_in_the_same_file() -> Result<()> {
    let experiment = Experiment::new();
    for attempt in 0..10 {
        log(&run_with_files(&experiment, 100)?, attempt * 5, 5)?;
    }
    assert_eq!(files(&experiment)?.len(), 3);
    assert_eq!(numbers(&experiment), (0..50).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_record_larger_than_the_limit_has_a_file_to_itself() -> Result<()> {
    let experiment = Experiment::new();
    let run = run_with_files(&experiment, 100)?;
    log(&run, 0, 1)?;
    let padding = "x".repeat(3 << 20);
    run.logger("trainer").info("a large one", &fields! { record: 1, padding })?;
    log(&run, 2, 1)?;

    let sizes: Vec<_> = files(&experiment)?.into_values().collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes[1] > 3 << 20 && sizes[0] < 60_000 && sizes[2] < 60_000, "{sizes:?}");
    assert_eq!(numbers(&experiment), [0, 1, 2]);
    Ok(())
}

#[test]
fn timings_rotate_and_metrics_and_errors_never_do() -> Result<()> {
    let experiment = Experiment::new();
    let run = run_with_files(&experiment, 2)?;
    let large = "x".repeat(300_000);
    for step in 0..12_u64 {
        run.metrics().log_step(step, NO_EPOCH, &fields! { note: large.as_str() })?;
        run.errors().log("ValueError", &large, "", &[])?;
        run.performance().record(&large, 0.5)?;
    }

    for file in ["metrics.jsonl", "errors.jsonl"] {
        assert_eq!(experiment.records(file).len(), 12, "{file}");
        assert!(!experiment.path(&format!("{file}.1")).exists());
    }
    assert!(experiment.path("performance.jsonl.1").exists());
    assert!(!experiment.path("performance.jsonl.2").exists(), "pruned to two files");
    Ok(())
}

#[test]
fn processes_rotate_together() -> Result<()> {
    const PROCESSES: u64 = 3;
    const RECORDS: u64 = 300;
    const SIZE: u64 = 20_000;
    let experiment = Experiment::new();

    processes_log(&experiment, PROCESSES, RECORDS, SIZE, 1000);

    let files = files(&experiment)?;
    assert!(files.len() > 10, "{files:?}");
    for size in files.values() {
        // Every other process may have checked the size before the last record that fitted, and appended after it.
        assert!(*size <= LIMIT + PROCESSES * (SIZE + 500), "{files:?}");
    }
    let mut found = BTreeMap::new();
    for name in experiment.with_rotated("main.log") {
        for line in experiment.text(&name).lines().filter(|line| !line.is_empty()) {
            let record: Value = serde_json::from_str(line)?;
            let number = |name: &str| record["context"][name].as_u64().expect("a number");
            *found.entry((number("process"), number("record"))).or_insert(0) += 1;
        }
    }
    assert_eq!(found.len() as u64, PROCESSES * RECORDS);
    assert!(found.values().all(|times| *times == 1), "each record is in exactly one file");
    experiment.assert_undamaged();
    Ok(())
}

#[test]
fn processes_prune_together() -> Result<()> {
    let experiment = Experiment::new();

    processes_log(&experiment, 3, 300, 20_000, 2);

    assert!(files(&experiment)?.keys().copied().eq(0..2));
    experiment.assert_undamaged();
    let manifest = experiment.manifest();
    assert!(manifest.attempts.iter().all(|attempt| attempt.storage_failures == 0), "{manifest:?}");
    Ok(())
}
