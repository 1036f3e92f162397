//! What a forked child does with its parent's run, within one process: `fork_state` carries the run over, and
//! `abandon` drops it without ending it. No process forks here, since a test binary has threads; Python's
//! tests/integration/test_processes.py forks.

use anyhow::Result;
use model_foundry::{Runtime, Status, fields};
use model_foundry_tests::{Experiment, each};

/// The number of attempts in run.json.
fn attempts(experiment: &Experiment) -> usize {
    each(&experiment.json("run.json")["attempts"]).count()
}

#[test]
fn a_child_takes_part_in_its_parents_attempt_and_does_not_end_it() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    run.metrics().log_step(1, 0, &fields! { loss: 2.0 })?;

    let child = run.fork_state().open(&Runtime::shared()?)?;
    assert_eq!(child.attempt(), run.attempt());
    assert_eq!(child.manifest().device, run.manifest().device);
    child.metrics().log_step(2, 0, &fields! { loss: 1.0 })?;
    child.finish(Status::Failed, Some(1));
    drop(child);

    assert_eq!(attempts(&experiment), 1);
    assert_eq!(experiment.latest_attempt()["status"], "running");
    run.finish(Status::Completed, None);
    assert_eq!(experiment.latest_attempt()["status"], "completed");
    assert_eq!(experiment.records("metrics.jsonl").len(), 2);
    Ok(())
}

#[test]
fn a_child_that_outlives_its_parent_stays_in_the_attempt() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let fork_state = run.fork_state();
    run.finish(Status::Completed, None);
    drop(run);

    let child = fork_state.open(&Runtime::shared()?)?;
    child.metrics().log_step(1, 0, &fields! { loss: 2.0 })?;
    drop(child);

    assert_eq!(attempts(&experiment), 1);
    assert_eq!(experiment.records("metrics.jsonl")[0].get("attempt"), None);
    Ok(())
}

#[test]
fn a_run_that_is_abandoned_is_not_ended() {
    let experiment = Experiment::new();

    experiment.run().forget_parent();

    assert_eq!(experiment.latest_attempt()["status"], "running");
    // Its lock is released, so the next run counts the attempt as dead.
    assert_eq!(experiment.run().attempt(), 2);
}
