//! ErrorTracker: every error in errors.jsonl, counts by type, and the newest errors in memory.

use std::fmt;

use anyhow::Result;
use model_foundry::{ErrorTracker, LoggingConfig, RunReader, fields};
use model_foundry_tests::{Experiment, START, START_TEXT};
use serde_json::json;

/// An error of an optimizer, with or without a cause.
#[derive(Debug)]
struct Diverged(Option<std::num::ParseFloatError>);

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the loss is NaN")
    }
}

impl std::error::Error for Diverged {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_ref().map(|cause| cause as _)
    }
}

/// Log an error of this type and message.
fn log(errors: &ErrorTracker, error_type: &str, message: &str) -> Result<()> {
    Ok(errors.log(error_type, message, "a traceback", &[])?)
}

/// The count of each type.
fn counts(errors: &ErrorTracker) -> Result<Vec<(String, u64)>> {
    Ok(errors.summary()?.into_iter().map(|each| (each.error_type, each.count)).collect())
}

#[test]
fn log_error_writes_to_file() -> Result<()> {
    let experiment = Experiment::new();
    let errors = experiment.run().errors();

    errors.log("ValueError", "bad\nvalue", "Traceback …", &fields! { step: 100, loss: 0.5 })?;

    assert_eq!(
        experiment.text("errors.jsonl"),
        format!(
            "{{\"timestamp\":\"{START_TEXT}\",\"error_type\":\"ValueError\",\
             \"error_message\":\"bad\\nvalue\",\"traceback\":\"Traceback …\",\
             \"context\":{{\"step\":100,\"loss\":0.5}}}}\n"
        )
    );
    Ok(())
}

#[test]
fn log_error_increments_counter() -> Result<()> {
    let experiment = Experiment::new();
    let errors = experiment.run().errors();
    log(&errors, "ValueError", "one")?;
    assert_eq!(counts(&errors)?, [("ValueError".to_owned(), 1)]);
    log(&errors, "ValueError", "two")?;
    assert_eq!(counts(&errors)?, [("ValueError".to_owned(), 2)]);
    errors.log_error(&Diverged(None), &[])?;
    let counts = counts(&errors)?;
    assert_eq!(counts.len(), 2);
    assert!(counts[1].0.ends_with("Diverged"), "{counts:?}");
    Ok(())
}

#[inline(never)]
fn outer_step(errors: &ErrorTracker) -> Result<()> {
    inner_step(errors)
}

#[inline(never)]
fn inner_step(errors: &ErrorTracker) -> Result<()> {
    let cause = "1.O".parse::<f64>().expect_err("not a number");
    Ok(errors.log_error(&Diverged(Some(cause)), &fields! { step: 3 })?)
}

#[test]
fn log_error_includes_traceback() -> Result<()> {
    let experiment = Experiment::new();

    outer_step(&experiment.run().errors())?;

    let record = experiment.record("errors.jsonl");
    let traceback = record["traceback"].as_str().unwrap_or_default();
    for part in [
        "Diverged: the loss is NaN",
        "caused by: invalid float literal",
        "outer_step",
        "inner_step",
    ] {
        assert!(traceback.contains(part), "{part} is missing in {traceback}");
    }
    let error_type = record["error_type"].as_str().unwrap_or_default();
    assert!(error_type.ends_with("Diverged"), "{error_type}");
    assert_eq!(record["error_message"], "the loss is NaN");
    Ok(())
}

#[test]
fn get_error_summary() -> Result<()> {
    let experiment = Experiment::new();
    let errors = experiment.run().errors();
    for error_type in ["KeyError", "ValueError", "ValueError", "IOError", "ValueError", "IOError"] {
        log(&errors, error_type, "a message")?;
    }
    let expected = [("ValueError", 3), ("IOError", 2), ("KeyError", 1)];
    assert_eq!(counts(&errors)?, expected.map(|(name, count)| (name.to_owned(), count)));
    Ok(())
}

#[test]
fn log_error_with_no_context() -> Result<()> {
    let experiment = Experiment::new();
    let errors = experiment.run().errors();
    errors.log_error(&Diverged(None), &[])?;
    assert_eq!(experiment.record("errors.jsonl")["context"], json!({}));
    assert_eq!(errors.recent(1)?[0].context, "{}");
    Ok(())
}

#[test]
fn reset_error_counts() -> Result<()> {
    let experiment = Experiment::new();
    let errors = experiment.run().errors();
    log(&errors, "ValueError", "one")?;
    let before = experiment.text("errors.jsonl");

    errors.reset_counts()?;

    assert_eq!(counts(&errors)?, []);
    assert_eq!(experiment.text("errors.jsonl"), before);
    assert_eq!(errors.recent(10)?.len(), 1);
    log(&errors, "ValueError", "two")?;
    assert_eq!(counts(&errors)?, [("ValueError".to_owned(), 1)]);
    Ok(())
}

#[test]
fn max_errors_limit() -> Result<()> {
    let experiment = Experiment::new();
    let config = LoggingConfig { max_errors_to_track: 10, ..LoggingConfig::default() };
    let errors = experiment.builder().config(config).open()?.errors();

    for number in 1..=15 {
        log(&errors, "ValueError", &format!("error {number}"))?;
    }

    assert_eq!(counts(&errors)?, [("ValueError".to_owned(), 15)]);
    assert_eq!(experiment.records("errors.jsonl").len(), 15);
    let held = errors.recent(100)?;
    assert_eq!(held.len(), 10);
    assert_eq!(held[0].error_message, "error 15");
    assert_eq!(held[9].error_message, "error 6");
    Ok(())
}

#[test]
fn get_recent_errors() -> Result<()> {
    let experiment = Experiment::new();
    let errors = experiment.run().errors();
    for number in 1..=5 {
        experiment.clock.advance(1_000_000_000);
        errors.log("ValueError", &number.to_string(), "here", &fields! { number })?;
    }

    let recent = errors.recent(3)?;

    let messages: Vec<_> = recent.iter().map(|entry| entry.error_message.as_str()).collect();
    assert_eq!(messages, ["5", "4", "3"]);
    assert_eq!(recent[0].timestamp, Some(START + 5_000_000));
    assert_eq!(recent[0].traceback, "here");
    assert_eq!(recent[0].context, "{\"number\":5}");
    assert_eq!(errors.recent(0)?.len(), 0);
    assert_eq!(errors.recent(u32::MAX)?.len(), 5);
    Ok(())
}

#[test]
fn errors_go_on_where_a_run_is_opened_again() -> Result<()> {
    let experiment = Experiment::new();
    log(&experiment.run().errors(), "ValueError", "one")?;
    experiment.clock.advance(1_000);
    let errors = experiment.run().errors();
    log(&errors, "ValueError", "two")?;
    log(&errors, "KeyError", "three")?;

    assert_eq!(counts(&errors)?, [("ValueError".to_owned(), 2), ("KeyError".to_owned(), 1)]);
    let report = RunReader::open(experiment.folder())?.errors(1)?;
    assert_eq!(report.counts[0].count, 2);
    assert_eq!(report.first.map(|first| first.error_message).as_deref(), Some("one"));
    assert_eq!(report.recent.len(), 1);
    assert_eq!(report.recent[0].error_message, "three");
    assert_eq!(report.damaged_lines, 0);
    Ok(())
}

#[test]
fn a_rank_stands_in_its_errors() -> Result<()> {
    let experiment = Experiment::new();
    let errors = experiment.builder().rank(3).open()?.errors();
    log(&errors, "ValueError", "here")?;
    assert_eq!(experiment.record("errors.jsonl")["rank"], 3);
    assert_eq!(errors.recent(1)?[0].rank, Some(3));
    Ok(())
}

#[test]
fn a_context_that_json_cannot_hold_becomes_text() -> Result<()> {
    let experiment = Experiment::new();
    let errors = experiment.run().errors();
    errors.log(
        "ValueError",
        "odd",
        "",
        &fields! { loss: f64::NAN, object: model_foundry::Value::Json("<object>".into()) },
    )?;
    let expected = json!({ "loss": "NaN", "object": "<object>" });
    assert_eq!(experiment.record("errors.jsonl")["context"], expected);
    Ok(())
}
