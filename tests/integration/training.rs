//! A real training logs with each logger, and with all together.

use anyhow::Result;
use model_foundry::{Clock, Durability, Field, Level, LoggingConfig, Query, RunReader, Status};
use model_foundry_tests::{ConsoleLines, Experiment, StandInDriver};
use serde_json::{Value, json};

use crate::trainer::Trainer;

/// A configuration that logs everything at every step.
fn each_step() -> LoggingConfig {
    LoggingConfig {
        log_metrics_every_n_steps: 1,
        log_detailed_metrics_every_n_steps: 1,
        log_memory_every_n_steps: 1,
        ..LoggingConfig::default()
    }
}

/// The messages in main.log with their contexts.
fn messages(experiment: &Experiment) -> Vec<(String, Value)> {
    let message = |mut record: Value| {
        let text = record["message"].as_str().unwrap_or_default().to_owned();
        (text, record["context"].take())
    };
    experiment.records("main.log").into_iter().map(message).collect()
}

/// The context of the only record with this message.
fn context_of(experiment: &Experiment, message: &str) -> Value {
    let mut found: Vec<_> =
        messages(experiment).into_iter().filter(|(text, _)| text == message).collect();
    assert_eq!(found.len(), 1, "{message:?} is once in main.log");
    found.remove(0).1
}

#[test]
fn trainer_uses_structured_logging() -> Result<()> {
    let experiment = Experiment::new();
    let mut trainer = Trainer::new(&experiment.run())?;

    trainer.process_data()?;
    trainer.train(0, 16)?;

    let records = experiment.records("main.log");
    let messages: Vec<_> = records.iter().filter_map(|record| record["message"].as_str()).collect();
    for message in
        ["processing data", "processed data", "training began", "epoch ended", "training ended"]
    {
        assert!(messages.contains(&message), "{message}: {messages:?}");
    }
    for record in &records {
        assert_eq!(record["logger"], "trainer");
        assert_eq!(record["context"]["experiment"], "tiny");
        assert_eq!(record["context"]["device"], "cpu");
        assert!(record["context"]["git_hash"].is_string());
    }
    let epochs: Vec<_> =
        records.iter().filter(|record| record["message"] == "epoch ended").collect();
    assert_eq!(epochs.len(), 2);
    assert_eq!(epochs[1]["context"]["step"], 16);
    assert!(epochs[1]["context"]["loss"].is_f64());
    Ok(())
}

#[test]
fn training_loop_logs_metrics() -> Result<()> {
    let experiment = Experiment::new();
    let config = LoggingConfig {
        log_metrics_every_n_steps: 1,
        log_detailed_metrics_every_n_steps: 1000,
        ..LoggingConfig::default()
    };
    let mut trainer = Trainer::new(&experiment.builder().config(config).open()?)?;

    trainer.process_data()?;
    trainer.train(0, 10)?;

    let entries = RunReader::open(experiment.folder())?.entries(Query::default())?;
    assert_eq!(entries.len(), 10);
    for (entry, step) in entries.iter().zip(1..) {
        assert_eq!(entry["step"], step);
        let loss = entry["metrics"]["loss"].as_f64().expect("a loss");
        assert!(loss.is_finite() && loss > 0.0, "{loss}");
    }
    Ok(())
}

#[test]
fn the_trainer_learns() -> Result<()> {
    let experiment = Experiment::new();
    let mut trainer = Trainer::new(&experiment.run())?;
    trainer.process_data()?;

    trainer.train(0, 2000)?;

    let loss = trainer.metrics.statistics("loss")?;
    assert_eq!(loss.count, 200, "every tenth step by default");
    assert!(loss.last < loss.max / 2.0, "{loss:?}");
    assert!(trainer.metrics.statistics("accuracy")?.last > 0.8);
    Ok(())
}

#[test]
fn metrics_follow_the_configured_intervals() -> Result<()> {
    let experiment = Experiment::new();
    let config = LoggingConfig {
        log_metrics_every_n_steps: 5,
        log_detailed_metrics_every_n_steps: 20,
        log_memory_every_n_steps: 50,
        ..LoggingConfig::default()
    };
    let mut trainer = Trainer::new(&experiment.builder().config(config).open()?)?;
    trainer.process_data()?;

    trainer.train(0, 100)?;

    let records = experiment.records("metrics.jsonl");
    let steps_with = |name: &str| -> Vec<u64> {
        let with = records.iter().filter(|record| record["metrics"].get(name).is_some());
        with.filter_map(|record| record["step"].as_u64()).collect()
    };
    assert_eq!(steps_with("loss"), (1..=20).map(|n| n * 5).collect::<Vec<_>>());
    assert_eq!(steps_with("grad_norm"), [20, 40, 60, 80, 100]);
    assert_eq!(steps_with("learning_rate"), [20, 40, 60, 80, 100]);
    let sampled: Vec<_> = experiment
        .records("performance.jsonl")
        .iter()
        .filter_map(|record| record["step"].as_u64())
        .collect();
    assert_eq!(sampled, [50, 100]);
    Ok(())
}

#[test]
fn console_and_file_levels_filter() -> Result<()> {
    for (console_level, file_level) in
        [(Level::Warning, Level::Info), (Level::Debug, Level::Error), (Level::Info, Level::Debug)]
    {
        let experiment = Experiment::new();
        let console = ConsoleLines::default();
        let config = LoggingConfig { console_level, file_level, ..LoggingConfig::default() };
        let run = experiment.builder().config(config).console(console.console()).open()?;
        // The trainer logs at DEBUG, INFO and ERROR.
        let mut trainer = Trainer::new(&run)?.with_learning_rate(f64::INFINITY);

        trainer.process_data()?;
        trainer.train(0, 10).expect_err("the training diverges");
        trainer.logger.warning("nothing was learned", &[])?;

        let expected = |minimum: Level| {
            let levels = [Level::Debug, Level::Info, Level::Warning, Level::Error];
            levels.map(|level| (level.name(), level >= minimum))
        };
        let records = experiment.records("main.log");
        for (level, wanted) in expected(file_level) {
            let found = records.iter().any(|record| record["level"] == level);
            assert_eq!(found, wanted, "{level} in a file of {file_level:?}");
        }
        for (level, wanted) in expected(console_level) {
            let part = format!(" {level} trainer: ");
            let found = console.lines().iter().any(|line| line.contains(&part));
            assert_eq!(found, wanted, "{level} on a console of {console_level:?}");
        }
    }
    Ok(())
}

#[test]
fn errors_logged_to_error_file() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let mut trainer = Trainer::new(&run)?.with_learning_rate(f64::INFINITY);
    trainer.process_data()?;
    // A file is in the place of the folder for checkpoints.
    std::fs::write(experiment.path("checkpoints"), "")?;

    trainer.checkpoint(0).expect_err("there is no folder to save in");
    trainer.train(0, 10).expect_err("the training diverges");

    let errors = experiment.records("errors.jsonl");
    assert_eq!(errors.len(), 2);
    for error in &errors {
        assert!(error["error_type"].as_str().expect("a type").ends_with("trainer::Failure"));
        let traceback = error["traceback"].as_str().expect("a traceback");
        assert!(traceback.contains("errors_logged_to_error_file"), "{traceback}");
    }
    let checkpoint = errors[0]["traceback"].as_str().unwrap_or_default();
    assert!(checkpoint.contains("caused by: "), "the traceback has the cause: {checkpoint}");
    let diverged = &errors[1];
    let step = diverged["context"]["step"].as_u64().expect("a step");
    assert_eq!(diverged["error_message"], format!("the loss is not finite at step {step}"));
    let summary = trainer.errors.summary()?;
    assert_eq!((summary.len(), summary[0].count), (1, 2));
    assert_eq!(trainer.errors.recent(1)?[0].context, format!("{{\"step\":{step}}}"));
    // main.log has them too, and a reader finds the first.
    let failed = experiment.records("main.log");
    let failed = failed.iter().filter(|record| record["message"] == "training failed");
    assert!(failed.clone().all(|record| record["level"] == "ERROR"));
    assert_eq!(failed.count(), 2);
    let report = RunReader::open(experiment.folder())?.errors(10)?;
    assert_eq!(report.first.map(|first| first.context), Some("{\"step\":0}".into()));
    Ok(())
}

#[test]
fn checkpoint_logging() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.builder().clock(Clock::System).open()?;
    let mut trainer = Trainer::new(&run)?;
    trainer.process_data()?;
    trainer.train(0, 8)?;

    let path = trainer.checkpoint(8)?;

    let size = std::fs::metadata(&path)?.len();
    let saving = context_of(&experiment, "saving checkpoint");
    let saved = context_of(&experiment, "saved checkpoint");
    let shown = path.display().to_string();
    assert_eq!((&saving["step"], &saving["path"]), (&json!(8), &json!(shown)));
    assert_eq!((&saved["step"], &saved["path"]), (&json!(8), &json!(shown)));
    assert_eq!(saved["size_mb"], size as f64 / 1e6);
    let seconds = saved["seconds"].as_f64().expect("how long it took");
    assert!(seconds > 0.0 && seconds < 10.0, "{seconds}");
    let timing = trainer.performance.statistics("checkpoint")?;
    assert_eq!((timing.count, timing.max), (1, seconds));
    let messages = messages(&experiment);
    let ended = format!("checkpoint completed in {seconds:.4}s");
    assert!(messages.iter().any(|(message, _)| *message == ended), "{messages:?}");
    let place = |wanted: &str| messages.iter().position(|(message, _)| message == wanted);
    assert!(place("saving checkpoint") < place("saved checkpoint"));
    Ok(())
}

#[test]
fn data_processing_logging() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.builder().clock(Clock::System).open()?;
    let mut trainer = Trainer::new(&run)?;

    trainer.process_data()?;

    let before = context_of(&experiment, "processing data");
    assert_eq!((&before["source"], &before["points"]), (&json!("generated"), &json!(256)));
    let after = context_of(&experiment, "processed data");
    assert_eq!(after["points"], 256);
    let inside = after["inside"].as_u64().expect("how many lie inside");
    assert!((50..200).contains(&inside), "{inside}");
    let timing = trainer.performance.statistics("process_data")?;
    assert_eq!(timing.count, 1);
    assert_eq!(after["seconds"], timing.max);
    // Each point that was left out is a DEBUG record.
    let left_out = experiment.records("main.log");
    let left_out = left_out.iter().filter(|record| record["message"] == "a point was left out");
    assert!(left_out.clone().all(|record| record["level"] == "DEBUG"));
    assert!(left_out.count() > 0);
    Ok(())
}

#[test]
fn end_to_end_with_everything_enabled() -> Result<()> {
    const STEPS: u64 = 200;
    for durability in [Durability::Buffered, Durability::Immediate, Durability::Synced] {
        let experiment = Experiment::new();
        let driver = StandInDriver::new(
            "count=1\ndevice.0.uuid=GPU-1\ndevice.0.name=Stand-in\n\
             device.0.total=1000\ndevice.0.used=200\n",
        );
        let config = LoggingConfig { profile_performance: true, durability, ..each_step() };
        let run = experiment
            .builder()
            .clock(Clock::System)
            .nvml(driver.library())
            .config(config.clone())
            .open()?;
        let mut trainer = Trainer::new(&run)?;
        let logger = trainer.logger.clone();

        trainer.process_data()?;
        trainer.train(0, STEPS)?;
        trainer.checkpoint(STEPS)?;
        let failure = std::io::Error::other("one worker was lost");
        trainer.errors.log_error(&failure, &[Field::new("worker", 3)])?;
        logger.update_context(vec![Field::new("phase", "test")]);
        logger.critical("the loader is gone", &[])?;
        logger.clear_context_field("phase");
        let live = trainer.metrics.statistics("loss")?;
        assert_eq!(run.storage().failures, 0);
        drop((trainer, logger));
        run.finish(Status::Completed, None);
        drop(run);

        let files = [
            "run.json",
            "main.log",
            "metrics.jsonl",
            "errors.jsonl",
            "performance.jsonl",
            "timing_report.json",
            "wandb",
            "checkpoints",
        ];
        for file in files {
            assert!(experiment.path(file).exists(), "{durability:?}: {file}");
        }
        let run_json = experiment.json("run.json");
        assert_eq!(run_json["experiment"], "tiny");
        assert_eq!(run_json["configuration"]["logging"]["profile_performance"], true);
        let attempt = &run_json["attempts"][0];
        assert_eq!(attempt["status"], "completed");
        for count in ["storage_failures", "refused_records", "component_failures"] {
            assert_eq!(attempt[count], 0, "{durability:?}: {count}");
        }

        let mut reader = RunReader::open(experiment.folder())?;
        let (statistics, report) = reader.statistics(Query::default(), &[])?;
        assert_eq!(report.damage.lines, 0);
        let names: Vec<_> = statistics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["loss", "accuracy", "grad_norm", "learning_rate"]);
        assert!(statistics.iter().all(|metric| metric.statistics.count == STEPS));
        assert_eq!(statistics[0].statistics, live, "{durability:?}");
        let timings = reader.timings()?;
        let count = |name: &str| timings.iter().find(|timing| timing.name == name).map(|t| t.count);
        assert_eq!(count("step"), Some(STEPS));
        assert_eq!((count("process_data"), count("checkpoint")), (Some(1), Some(1)));
        assert_eq!(experiment.json("timing_report.json")["step"]["count"], STEPS);
        let peaks = reader.memory_peaks()?;
        assert_eq!(peaks.samples, STEPS);
        assert!(peaks.process_resident > 0 && !peaks.gpus.is_empty(), "{peaks:?}");
        let errors = reader.errors(5)?;
        assert_eq!(errors.first.map(|first| first.error_message), Some(failure.to_string()));
        let main_log = experiment.records("main.log");
        let last = main_log.last().expect("a record");
        assert_eq!(
            (&last["level"], &last["context"]["phase"]),
            (&json!("CRITICAL"), &json!("test"))
        );
        experiment.assert_undamaged();
    }
    Ok(())
}

#[test]
fn a_training_that_panics_is_a_failed_attempt() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let mut trainer = Trainer::new(&run)?;
    trainer.process_data()?;

    let panicked = std::thread::spawn(move || {
        let _run = run;
        trainer.train(0, 10).expect("ten good steps");
        panic!("the eleventh step");
    })
    .join();

    assert!(panicked.is_err());
    assert_eq!(experiment.manifest().attempts[0].status, Status::Failed);
    assert_eq!(experiment.records("metrics.jsonl").len(), 2, "step 10 and the summary of an epoch");
    Ok(())
}
