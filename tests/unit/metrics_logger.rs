//! MetricsLogger: the lines of metrics.jsonl, statistics, and reading them back.

use std::process::Command;

use anyhow::Result;
use model_foundry::{
    Clock, Column, Console, Error, Kind, MetricsLogger, Query, ReadReport, Run, RunReader,
    StepOrigin, Value, fields,
};
use model_foundry_tests::{EVERYTHING, Experiment, START_TEXT, steps_of};
use serde_json::json;

/// Log these losses, each with its step.
fn log_losses(metrics: &MetricsLogger, losses: &[(u64, f64)]) -> Result<()> {
    for (step, loss) in losses {
        metrics.log_step(*step, None, &fields! { loss: *loss })?;
    }
    Ok(())
}

/// The steps of the entries that a query returns.
fn steps(experiment: &Experiment, query: Query) -> Result<Vec<u64>> {
    let entries = RunReader::open(experiment.folder())?.entries(query)?;
    Ok(entries.iter().filter_map(|entry| entry["step"].as_u64()).collect())
}

#[test]
fn creates_metrics_file() -> Result<()> {
    let experiment = Experiment::new();
    let runs = experiment.path("not/there/yet");
    let run = Run::builder("tiny").runs_dir(&runs).console(Console::Silent).open()?;

    run.metrics().log_step(1, None, &fields! { loss: 0.5 })?;

    assert_eq!(run.manifest().experiment, "tiny");
    assert_eq!(run.folder(), runs.join("tiny"));
    assert!(runs.join("tiny/metrics.jsonl").is_file());
    Ok(())
}

#[test]
fn log_step_writes_jsonl() -> Result<()> {
    let experiment = Experiment::new();
    let metrics = experiment.run().metrics();

    metrics.log_step(100, 1.0, &fields! { loss: 0.5, accuracy: 0.75 })?;

    // Another process reads the line while the run is still open.
    let seen = Command::new("cat").arg(experiment.path("metrics.jsonl")).output()?.stdout;
    assert_eq!(
        String::from_utf8(seen)?,
        format!(
            "{{\"timestamp\":\"{START_TEXT}\",\"step\":100,\"epoch\":1,\
             \"metrics\":{{\"loss\":0.5,\"accuracy\":0.75}}}}\n"
        )
    );
    Ok(())
}

#[test]
fn log_step_appends_to_file() -> Result<()> {
    let experiment = Experiment::new();
    log_losses(&experiment.run().metrics(), &[(1, 0.5), (3, 0.25), (2, 0.125)])?;
    let before = experiment.text("metrics.jsonl");

    log_losses(&experiment.run().metrics(), &[(4, 0.0625)])?;

    let after = experiment.text("metrics.jsonl");
    assert!(after.starts_with(&before), "earlier lines are unchanged");
    assert_eq!(steps_of(&experiment, "metrics.jsonl"), [1, 3, 2, 4]);
    Ok(())
}

#[test]
fn log_epoch_summary() -> Result<()> {
    let experiment = Experiment::new();
    let metrics = experiment.run().metrics();

    metrics.log_epoch_summary(2, &fields! { train_loss: 0.5, best: true })?;

    assert_eq!(
        experiment.text("metrics.jsonl"),
        format!(
            "{{\"timestamp\":\"{START_TEXT}\",\"epoch\":2,\
             \"summary\":{{\"train_loss\":0.5,\"best\":true}}}}\n"
        )
    );
    Ok(())
}

#[test]
fn get_metrics_history() -> Result<()> {
    let experiment = Experiment::new();
    let metrics = experiment.run().metrics();
    log_losses(&metrics, &[(1, 0.5), (2, 0.25)])?;
    metrics.log_epoch_summary(1, &fields! { loss: 0.375 })?;
    log_losses(&metrics, &[(3, 0.125)])?;

    let entries = RunReader::open(experiment.folder())?.entries(EVERYTHING)?;

    let found: Vec<_> = entries.into_iter().map(serde_json::Value::Object).collect();
    assert_eq!(found, experiment.records("metrics.jsonl"));
    assert_eq!(found.len(), 4);
    assert_eq!(found[2]["summary"], json!({ "loss": 0.375 }));
    Ok(())
}

#[test]
fn the_history_is_the_lines_of_the_file() -> Result<()> {
    let experiment = Experiment::new();
    log_losses(&experiment.run().metrics(), &[(1, 0.5), (2, 1.0)])?;

    let mut text = String::new();
    let report = RunReader::open(experiment.folder())?.history(EVERYTHING, &mut |block| {
        text.push_str(block);
        true
    })?;

    assert_eq!(text, experiment.text("metrics.jsonl"));
    assert_eq!(report, ReadReport::default());
    Ok(())
}

#[test]
fn damaged_lines_are_skipped_and_told() -> Result<()> {
    let experiment = Experiment::new();
    log_losses(&experiment.run().metrics(), &[(1, 0.5), (2, 1.0)])?;
    let text = experiment.text("metrics.jsonl");
    std::fs::write(experiment.path("metrics.jsonl"), text.replacen("\"step\":1", "\"step\":", 1))?;

    let mut reader = RunReader::open(experiment.folder())?;
    let (statistics, report) = reader.statistics(Query::default(), &["loss".into()])?;

    assert_eq!(statistics[0].statistics.count, 1);
    let damage = report.damage;
    assert_eq!(damage.lines, 1);
    let first = damage.first.expect("the first damaged line");
    assert_eq!((first.file.as_str(), first.line), ("metrics.jsonl", 1));
    Ok(())
}

#[test]
fn get_metrics_for_steps() -> Result<()> {
    let experiment = Experiment::new();
    let metrics = experiment.run().metrics();
    for step in 1..=10 {
        log_losses(&metrics, &[(step, 0.5)])?;
        metrics.log_epoch_summary(f64::from(step as u32), &fields! { loss: 0.5 })?;
    }
    let range = |first, last| Query { first_step: first, last_step: last, ..Query::default() };
    assert_eq!(steps(&experiment, range(Some(3), Some(6)))?, [3, 4, 5, 6]);
    assert_eq!(steps(&experiment, range(Some(10), Some(10)))?, [10]);
    assert_eq!(steps(&experiment, range(Some(9), None))?, [9, 10]);
    assert_eq!(steps(&experiment, range(None, Some(2)))?, [1, 2]);
    assert_eq!(steps(&experiment, range(Some(11), Some(20)))?, [0; 0]);
    let entries = RunReader::open(experiment.folder())?.entries(range(Some(3), Some(6)))?;
    assert_eq!(entries.len(), 4, "summaries are not steps");
    Ok(())
}

#[test]
fn compute_statistics() -> Result<()> {
    let experiment = Experiment::new();
    let metrics = experiment.run().metrics();
    log_losses(&metrics, &[(1, 2.0), (2, 4.0), (3, 4.0), (4, 4.0)])?;
    metrics.log_step(5, None, &fields! { loss: Value::Null, accuracy: 0.5 })?;
    metrics.log_step(6, None, &fields! { loss: "diverged" })?;
    log_losses(&metrics, &[(7, 5.0), (8, 5.0), (9, 7.0), (10, 9.0)])?;

    let live = metrics.statistics("loss")?;
    let mut reader = RunReader::open(experiment.folder())?;
    let (read, _) = reader.statistics(Query::default(), &["loss".into()])?;

    for statistics in [live, read[0].statistics] {
        assert_eq!(statistics.count, 8);
        assert_eq!(statistics.mean, 5.0);
        assert_eq!((statistics.min, statistics.max, statistics.last), (2.0, 9.0, 9.0));
        // Divided by n − 1: √(32 / 7).
        assert!((statistics.std - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12, "{}", statistics.std);
    }
    assert_eq!(metrics.statistics("unknown")?.count, 0);
    assert_eq!(metrics.statistics("accuracy")?.std, 0.0);
    let names: Vec<_> = metrics.all_statistics()?.into_iter().map(|named| named.name).collect();
    assert_eq!(names, ["loss", "accuracy"]);
    Ok(())
}

#[test]
fn statistics_go_on_where_a_run_is_opened_again() -> Result<()> {
    let experiment = Experiment::new();
    log_losses(&experiment.run().metrics(), &[(1, 1.0), (2, 2.0), (3, 30.0)])?;

    // The second attempt repeats step 3: that of the first no longer counts.
    let metrics = experiment.run().metrics();
    log_losses(&metrics, &[(3, 3.0), (4, 4.0)])?;

    let live = metrics.statistics("loss")?;
    assert_eq!((live.count, live.mean, live.max), (4, 2.5, 4.0));
    let (read, _) = RunReader::open(experiment.folder())?.statistics(Query::default(), &[])?;
    assert_eq!((read[0].statistics.count, read[0].statistics.mean), (4, 2.5));
    assert_eq!(steps(&experiment, Query::default())?, [1, 2, 3, 4]);
    assert_eq!(steps(&experiment, EVERYTHING)?.len(), 5);
    Ok(())
}

#[test]
fn log_gradient_norm() -> Result<()> {
    let experiment = Experiment::new();
    let metrics = experiment.run().metrics();
    metrics.log_step(
        1,
        None,
        &fields! { "grad_norm/total": 1.2345678901234567, "grad_norm/layer.0": 1e-300 },
    )?;
    let logged = &experiment.record("metrics.jsonl")["metrics"];
    assert_eq!(logged["grad_norm/total"], 1.2345678901234567);
    assert_eq!(logged["grad_norm/layer.0"], 1e-300);
    assert_eq!(metrics.statistics("grad_norm/total")?.last, 1.2345678901234567);
    Ok(())
}

#[test]
fn log_learning_rate_schedule() -> Result<()> {
    let experiment = Experiment::new();
    let metrics = experiment.run().metrics();
    let schedule: Vec<f64> = (0..100).map(|step| 3e-4 * f64::from(step) / 99.0).collect();
    for (step, learning_rate) in schedule.iter().enumerate() {
        metrics.log_step(step as u64, None, &fields! { learning_rate: *learning_rate })?;
    }
    let read: Vec<_> = experiment
        .records("metrics.jsonl")
        .iter()
        .map(|entry| entry["metrics"]["learning_rate"].as_f64().unwrap_or(f64::NAN))
        .collect();
    assert_eq!(read, schedule);
    Ok(())
}

#[test]
fn log_throughput_metrics() -> Result<()> {
    let experiment = Experiment::new();
    let metrics = experiment.run().metrics();

    metrics.log_step(
        1,
        None,
        &fields! { tokens_per_second: 8500, tokens: 9_007_199_254_740_993_i64, seconds: 2.0 },
    )?;
    let column = |name: &str, kind| Column { name: name.into(), kind };
    let columns = metrics.typed_columns(vec![
        column("tokens_per_second", Kind::Integer),
        column("seconds", Kind::Float),
    ])?;
    columns.log(2, None, &[8500.0, 2.0])?;

    // An integer stays an integer, 8500 and not 8500.0, and a float stays a float.
    let text = experiment.text("metrics.jsonl");
    let mut lines = text.lines();
    let by_name = "{\"tokens_per_second\":8500,\"tokens\":9007199254740993,\"seconds\":2.0}}";
    assert!(lines.next().unwrap_or_default().ends_with(by_name), "{text}");
    let by_column = "{\"tokens_per_second\":8500,\"seconds\":2.0}}";
    assert!(lines.next().unwrap_or_default().ends_with(by_column), "{text}");
    Ok(())
}

#[test]
fn handles_nan_inf_values() -> Result<()> {
    let experiment = Experiment::new();
    let metrics = experiment.run().metrics();

    metrics.log_step(
        7,
        None,
        &fields! { loss: f64::NAN, grad_norm: f64::INFINITY, best: f64::NEG_INFINITY, lr: 0.5 },
    )?;
    metrics.columns(&["loss", "lr"])?.log(8, None, &[f64::INFINITY, 0.25])?;

    // `records` accepts only strict JSON.
    let records = experiment.records("metrics.jsonl");
    assert_eq!(
        records[0]["metrics"],
        json!({ "loss": null, "grad_norm": null, "best": null, "lr": 0.5 })
    );
    assert_eq!(
        records[0]["non_finite"],
        json!({ "loss": "NaN", "grad_norm": "inf", "best": "-inf" })
    );
    assert_eq!(records[1]["metrics"], json!({ "loss": null, "lr": 0.25 }));
    assert_eq!(records[1]["non_finite"], json!({ "loss": "inf" }));
    let (read, _) =
        RunReader::open(experiment.folder())?.statistics(Query::default(), &["loss".into()])?;
    for loss in [metrics.statistics("loss")?, read[0].statistics] {
        assert_eq!((loss.count, loss.nan, loss.positive_infinity), (0, 1, 1));
        assert_eq!(loss.first_non_finite_step, Some(7));
    }
    Ok(())
}

#[test]
fn concurrent_writes_safe() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();

    std::thread::scope(|scope| {
        for thread in 0..5 {
            let metrics = run.metrics();
            scope.spawn(move || {
                for step in 0..10 {
                    let logged = metrics.log_step(thread * 10 + step, None, &fields! { thread });
                    logged.expect("the step is logged");
                }
            });
        }
    });

    let mut found: Vec<_> = experiment
        .records("metrics.jsonl")
        .iter()
        .map(|entry| (entry["step"].as_u64(), entry["metrics"]["thread"].as_u64()))
        .collect();
    found.sort_unstable();
    let expected: Vec<_> = (0..50).map(|step| (Some(step), Some(step / 10))).collect();
    assert_eq!(found, expected);
    assert_eq!(run.metrics().statistics("thread")?.count, 50);
    Ok(())
}

#[test]
fn rows_by_column_are_the_lines_that_names_give() -> Result<()> {
    let (by_name, by_column) = (Experiment::new(), Experiment::new());

    by_name.run().metrics().log_step(5, 0.5, &fields! { loss: 0.25, "lr/encoder": 3e-4 })?;
    let metrics = by_column.run().metrics();
    metrics.columns(&["loss", "lr/encoder"])?.log(5, 0.5, &[0.25, 3e-4])?;

    assert_eq!(by_column.text("metrics.jsonl"), by_name.text("metrics.jsonl"));
    Ok(())
}

#[test]
fn a_guessed_step_is_marked() -> Result<()> {
    let experiment = Experiment::new();
    let metrics = experiment.run().metrics();
    let origin = StepOrigin { inferred: true, epoch_step: None };
    metrics.log_step_of_output(5, Some(1.0), &fields! { loss: 0.5 }, origin)?;
    let record = experiment.record("metrics.jsonl");
    assert_eq!((&record["step"], &record["step_inferred"]), (&json!(5), &json!(true)));
    Ok(())
}

#[test]
fn the_printed_position_within_an_epoch_is_kept() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let origin = StepOrigin { inferred: false, epoch_step: Some(2) };
    run.metrics().log_step_of_output(20, Some(1.0), &fields! { loss: 0.5 }, origin)?;
    let record = experiment.record("metrics.jsonl");
    assert_eq!((&record["step"], &record["epoch_step"]), (&json!(20), &json!(2)));
    assert_eq!(record.get("step_inferred"), None);
    drop(run);
    let mut steps = Vec::new();
    let mut reader = RunReader::open(experiment.folder())?;
    reader.rows(Query::default(), &mut |row| {
        steps.push((row.step, row.epoch_step));
        true
    })?;
    assert_eq!(steps, [(Some(20), Some(2))]);
    Ok(())
}

#[test]
fn an_overview_thins_every_metric_out() -> Result<()> {
    let experiment = Experiment::new();
    let losses: Vec<_> = (0..100).map(|step| (step, f64::from(step as u32))).collect();
    log_losses(&experiment.run().metrics(), &losses)?;

    let (statistics, series, _) =
        RunReader::open(experiment.folder())?.overview(Query::default(), 10)?;

    assert_eq!(statistics[0].statistics.count, 100);
    assert_eq!(series[0].name, "loss");
    assert!(series[0].points.len() <= 10, "{:?}", series[0].points);
    assert!(series[0].points.is_sorted(), "{:?}", series[0].points);
    Ok(())
}

#[test]
fn columns_and_summaries_that_make_no_sense_are_the_callers_fault() -> Result<()> {
    let experiment = Experiment::new();
    // These calls fail even under `OnError::Report`, the default.
    let run = Run::builder("tiny")
        .folder(experiment.folder())
        .console(Console::Silent)
        .clock(Clock::Manual(experiment.clock.clone()))
        .open()?;
    let metrics = run.metrics();
    let columns = metrics.columns(&["loss", "lr"])?;

    for refused in [
        columns.log(1, None, &[0.5]),
        columns.log(1, None, &[0.5, 0.5, 0.5]),
        metrics.log_epoch_summary(f64::NAN, &[]),
        metrics.columns(&["loss", "loss"]).map(drop),
    ] {
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    assert!(!experiment.path("metrics.jsonl").exists());
    Ok(())
}
