//! Another process, or another user, that holds a lock of the run folder: no wait is without end.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use model_foundry::LoggingConfig;
use model_foundry_tests::{Experiment, NO_EPOCH, without_wandb};

#[test]
fn lock_files_are_private_to_the_user() -> Result<()> {
    let experiment = Experiment::new();
    // An earlier version made them readable.
    fs::write(experiment.path(".live.lock"), "")?;
    fs::set_permissions(experiment.path(".live.lock"), fs::Permissions::from_mode(0o644))?;
    let run = experiment.run();
    for lock in [".change.lock", ".live.lock"] {
        let mode = fs::metadata(experiment.path(lock))?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{lock}");
    }
    drop(run);
    Ok(())
}

#[test]
fn a_lock_that_is_held_delays_a_training_and_does_not_stop_it() -> Result<()> {
    let experiment = Experiment::new();
    drop(experiment.run());
    let lock = File::options().read(true).write(true).open(experiment.path(".change.lock"))?;
    lock.lock()?;

    let began = Instant::now();
    let config = LoggingConfig { max_log_size_mb: 1, ..without_wandb() };
    let run = experiment.builder().config(config).open()?;
    let logger = run.logger("trainer");
    let text = "x".repeat(100_000);
    for _ in 0..30 {
        logger.info(&text, &[])?;
    }
    run.metrics().log_step(1, NO_EPOCH, &model_foundry::fields! { loss: 0.5 })?;
    drop(logger);
    drop(run);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(!experiment.path("main.log.1").exists(), "the rotation waits");
    let log = experiment.text("main.log");
    assert!(log.contains("has held the folder's lock"), "the holder is reported");
    assert!(log.contains(&format!("process {}", std::process::id())), "by its process");
    assert_eq!(experiment.records("metrics.jsonl").len(), 1);

    lock.unlock()?;
    let config = LoggingConfig { max_log_size_mb: 1, ..without_wandb() };
    let run = experiment.builder().config(config).open()?;
    run.logger("trainer").info(&text, &[])?;
    assert!(experiment.path("main.log.1").exists(), "and is done later");
    Ok(())
}
