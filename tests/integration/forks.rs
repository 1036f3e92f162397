//! Going on with a run that another process has open, as a forked child does.

use anyhow::Result;
use model_foundry::{Runtime, Status, fields};
use model_foundry_tests::Experiment;
use serde_json::Value;

#[test]
fn a_child_takes_part_in_its_parents_attempt_and_does_not_end_it() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    run.metrics().log_step(1, 0, &fields! { loss: 2.0 })?;

    let child = run.heritage().open(&Runtime::shared()?)?;
    assert_eq!(child.attempt(), run.attempt());
    assert_eq!(child.manifest().device, run.manifest().device);
    child.metrics().log_step(2, 0, &fields! { loss: 1.0 })?;
    child.finish(Status::Failed, Some(1));
    drop(child);

    let attempts = |text: &str| -> Result<Value> {
        Ok(serde_json::from_str::<Value>(text)?["attempts"].take())
    };
    let now = attempts(&experiment.text("run.json"))?;
    assert_eq!(now.as_array().map(Vec::len), Some(1));
    assert_eq!(now[0]["status"], "running");
    run.finish(Status::Completed, None);
    assert_eq!(attempts(&experiment.text("run.json"))?[0]["status"], "completed");
    assert_eq!(experiment.records("metrics.jsonl").len(), 2);
    Ok(())
}

#[test]
fn a_child_that_outlives_its_parent_stays_in_the_attempt() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let heritage = run.heritage();
    run.finish(Status::Completed, None);
    drop(run);

    let child = heritage.open(&Runtime::shared()?)?;
    child.metrics().log_step(1, 0, &fields! { loss: 2.0 })?;
    drop(child);

    let run_json: Value = serde_json::from_str(&experiment.text("run.json"))?;
    assert_eq!(run_json["attempts"].as_array().map(Vec::len), Some(1));
    assert_eq!(experiment.records("metrics.jsonl")[0].get("attempt"), None);
    Ok(())
}

#[test]
fn a_run_that_is_abandoned_is_not_ended() -> Result<()> {
    let experiment = Experiment::new();

    experiment.run().abandon();

    let run_json: Value = serde_json::from_str(&experiment.text("run.json"))?;
    assert_eq!(run_json["attempts"][0]["status"], "running");
    // Its lock is gone with it: the next run finds nobody alive.
    assert_eq!(experiment.run().attempt(), 2);
    Ok(())
}
