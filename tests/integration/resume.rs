//! Later attempts at an experiment: they append, continue the statistics, and repeat steps.

use anyhow::Result;
use model_foundry::{Query, Run, RunReader, Status, fields};
use model_foundry_tests::{EVERYTHING, Experiment, NO_EPOCH};
use serde_json::{Value, json};

use crate::processes::{Child, given, run_of_child, send, wait_to_be_killed};

/// Everything but what a later attempt repeats.
const LATEST: Query = Query { all_attempts: false, ..EVERYTHING };

/// Log a loss of 1 / attempt at each of these steps.
fn log_losses(run: &Run, steps: std::ops::RangeInclusive<u64>) -> Result<()> {
    let loss = 1.0 / f64::from(run.attempt());
    for step in steps {
        run.metrics().log_step(step, NO_EPOCH, &fields! { loss })?;
    }
    Ok(())
}

/// A child's job: log some steps, and wait to be killed.
pub(crate) fn log_and_wait() {
    let run = run_of_child().open().expect("the run opens");
    log_losses(&run, given("FIRST")..=given("LAST")).expect("the steps are logged");
    send("logged");
    wait_to_be_killed();
}

/// The steps and losses that a query returns.
fn losses(experiment: &Experiment, query: Query) -> Result<Vec<(u64, f64)>> {
    let entries = RunReader::open(experiment.folder())?.entries(query)?;
    let losses = entries.iter().filter_map(|entry| {
        Some((entry.get("step")?.as_u64()?, entry["metrics"]["loss"].as_f64()?))
    });
    Ok(losses.collect())
}

/// The status of each attempt. Attempts are numbered from 1.
fn statuses(experiment: &Experiment) -> Vec<Status> {
    let attempts = experiment.manifest().attempts;
    assert!(attempts.iter().map(|attempt| attempt.attempt).eq(1..=attempts.len() as u32));
    attempts.iter().map(|attempt| attempt.status.clone()).collect()
}

#[test]
fn resume_appends_and_keeps_statistics() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    log_losses(&run, 1..=10)?;
    run.logger("trainer").info("the first attempt", &[])?;
    run.errors().log("ValueError", "first", "", &[])?;
    run.performance().record("step", 1.0)?;
    drop(run);
    let before = ["metrics.jsonl", "main.log", "errors.jsonl", "performance.jsonl"]
        .map(|file| (file, experiment.text(file)));

    let run = experiment.run();
    let loss = run.metrics().statistics("loss")?;
    assert_eq!(
        (loss.count, loss.mean),
        (10, 1.0),
        "the statistics are there before anything is logged"
    );
    log_losses(&run, 11..=20)?;
    run.logger("trainer").info("the second attempt", &[])?;
    run.errors().log("ValueError", "second", "", &[])?;
    run.performance().record("step", 3.0)?;

    for (file, before) in before {
        assert!(experiment.text(file).starts_with(&before), "{file} is appended to");
    }
    assert_eq!(run.attempt(), 2);
    let loss = run.metrics().statistics("loss")?;
    assert_eq!((loss.count, loss.mean, loss.min, loss.max), (20, 0.75, 0.5, 1.0));
    let step = run.performance().statistics("step")?;
    assert_eq!((step.count, step.mean), (2, 2.0), "timings are counted across attempts");
    assert_eq!(run.errors().summary()?[0].count, 2, "errors are counted across attempts");
    drop(run);
    assert_eq!(losses(&experiment, LATEST)?.len(), 20);
    assert_eq!(experiment.json("timing_report.json")["step"]["count"], 2);
    let records = experiment.records("metrics.jsonl");
    assert_eq!((&records[9]["attempt"], &records[10]["attempt"]), (&Value::Null, &json!(2)));
    assert_eq!(statuses(&experiment), [Status::Completed, Status::Completed]);
    Ok(())
}

#[test]
fn steps_gone_over_again_count_as_the_latest_attempt_has_them() -> Result<()> {
    let experiment = Experiment::new();
    log_losses(&experiment.run(), 1..=10)?;
    // It resumes from a checkpoint at step 6, and dies early.
    log_losses(&experiment.run(), 7..=8)?;
    let run = experiment.run();
    log_losses(&run, 5..=9)?;

    let third = 1.0 / 3.0;
    let expected: Vec<_> =
        (1..=10).map(|step| (step, if (5..=9).contains(&step) { third } else { 1.0 })).collect();
    let mut latest = losses(&experiment, LATEST)?;
    latest.sort_by_key(|(step, _)| *step);
    assert_eq!(latest, expected, "no later attempt has logged step 10 again");
    let loss = run.metrics().statistics("loss")?;
    assert_eq!(loss.count, 10);
    assert!((loss.mean - (5.0 + 5.0 / 3.0) / 10.0).abs() < 1e-12, "{loss:?}");
    let mut reader = RunReader::open(experiment.folder())?;
    let (statistics, report) = reader.statistics(LATEST, &[])?;
    assert_eq!((statistics[0].statistics.count, report.omitted.rows), (10, 7));
    let second = Query { attempt: Some(2), ..LATEST };
    assert_eq!(losses(&experiment, second)?, [(7, 0.5), (8, 0.5)]);
    let all = Query { all_attempts: true, ..LATEST };
    assert_eq!(losses(&experiment, all)?.len(), 17, "repeated steps stay in the file");
    assert_eq!(reader.statistics(all, &[])?.0[0].statistics.count, 17);
    let some = Query { first_step: Some(4), last_step: Some(5), ..LATEST };
    assert_eq!(losses(&experiment, some)?, [(4, 1.0), (5, third)]);
    Ok(())
}

#[test]
fn each_attempt_ends_as_it_ended() -> Result<()> {
    let experiment = Experiment::new();
    log_losses(&experiment.run(), 1..=2)?;
    let run = experiment.run();
    let panicked = std::thread::spawn(move || {
        let _run = run;
        panic!("the training fails");
    });
    assert!(panicked.join().is_err());
    let run = experiment.run();
    run.finish(Status::Interrupted, Some(130));
    run.finish(Status::Completed, None);
    drop(run);

    let variables = [("FIRST", "3".to_owned()), ("LAST", "4".to_owned())];
    let mut child = Child::start("log and wait", experiment.folder(), &variables);
    child.expect("logged");
    assert_eq!(statuses(&experiment).last(), Some(&Status::Running));
    child.kill();

    let ended = [Status::Completed, Status::Failed, Status::Interrupted, Status::Died];
    assert_eq!(statuses(&experiment), ended, "the process of the last attempt is dead");
    let written = experiment.json("run.json");
    assert_eq!(written["attempts"][3]["status"], "running", "reading does not change the file");
    assert_eq!(written["attempts"][2]["exit_code"], 130, "the first status of an attempt counts");
    let run = experiment.run();
    assert_eq!(run.attempt(), 5);
    let written = experiment.json("run.json");
    assert_eq!(written["attempts"][3]["status"], "died");
    assert_eq!(written["attempts"][3]["end"], Value::Null);
    drop(run);
    assert_eq!(losses(&experiment, LATEST)?.len(), 4);
    Ok(())
}

#[test]
fn a_process_beside_a_dead_one_is_in_the_same_attempt() -> Result<()> {
    let experiment = Experiment::new();
    let variables = [("FIRST", "1".to_owned()), ("LAST", "2".to_owned())];
    let mut first = Child::start("log and wait", experiment.folder(), &variables);
    first.expect("logged");
    let run = experiment.run();
    assert_eq!(run.attempt(), 1);
    first.kill();

    log_losses(&run, 3..=4)?;
    assert_eq!(experiment.run().attempt(), 1, "one process of the attempt is still alive");
    drop(run);

    assert_eq!(
        statuses(&experiment),
        [Status::Died],
        "the process that began the attempt did not end it"
    );
    assert_eq!(experiment.run().attempt(), 2);
    Ok(())
}

#[test]
fn another_experiment_s_folder_is_refused() -> Result<()> {
    let experiment = Experiment::new();
    drop(experiment.run());
    let before = experiment.text("run.json");

    let refused = Run::builder("another").folder(experiment.folder()).open();

    let message = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(message.contains("holds a run of experiment \"tiny\""), "{message}");
    assert_eq!(experiment.text("run.json"), before);
    Ok(())
}
