//! Several ranks: each process writes its own files, or all share one, and readers see one run.

use anyhow::Result;
use model_foundry::{Query, Run, RunReader, fields};
use model_foundry_tests::{Experiment, NO_EPOCH};
use serde_json::json;

fn open_rank(experiment: &Experiment, rank: u32, shards: bool) -> Result<Run> {
    Ok(experiment.builder().rank(rank).shards(shards).open()?)
}

/// Log the steps of the run's rank, one of three: 0, 3, 6 … for rank 0 and 1, 4, 7 … for rank 1.
fn log_share(run: &Run, steps: u64) -> Result<()> {
    let rank = run.rank().expect("a rank");
    for step in 0..steps {
        let step = 3 * step + u64::from(rank);
        run.metrics().log_step(step, NO_EPOCH, &fields! { rank, loss: step as f64 })?;
    }
    Ok(())
}

#[test]
fn shards_are_read_as_one_run_in_the_order_of_steps() -> Result<()> {
    let experiment = Experiment::new();
    let runs = [0, 1, 2].map(|rank| open_rank(&experiment, rank, true));
    for run in runs {
        let run = run?;
        log_share(&run, 20)?;
        run.logger("trainer").info("a record", &[])?;
    }

    for rank in 0..3 {
        assert_eq!(experiment.records(&format!("metrics.rank-{rank:05}.jsonl")).len(), 20);
        let record = experiment.record(&format!("main.rank-{rank:05}.log"));
        assert_eq!(record["context"]["rank"], rank);
    }
    assert!(!experiment.path("metrics.jsonl").exists());
    let mut reader = RunReader::open(experiment.folder())?;
    let entries = reader.entries(Query::default())?;
    let steps: Vec<_> = entries.iter().filter_map(|entry| entry["step"].as_u64()).collect();
    assert_eq!(steps, (0..60).collect::<Vec<_>>());
    assert!(entries.iter().zip(0..).all(|(entry, step)| entry["metrics"]["rank"] == step % 3));
    let some = Query { first_step: Some(10), last_step: Some(13), ..Query::default() };
    assert_eq!(reader.entries(some)?.len(), 4);
    let (statistics, _) = reader.statistics(Query::default(), &["loss".into()])?;
    let loss = &statistics[0].statistics;
    assert_eq!((loss.count, loss.min, loss.max), (60, 0.0, 59.0));
    assert!((loss.mean - 29.5).abs() < 1e-9, "{loss:?}");
    Ok(())
}

#[test]
fn ranks_in_one_file_are_told_apart() -> Result<()> {
    let experiment = Experiment::new();
    let (first, second) = (open_rank(&experiment, 0, false)?, open_rank(&experiment, 1, false)?);
    log_share(&first, 5)?;
    log_share(&second, 5)?;
    first.logger("trainer").info("a record", &[])?;
    second.logger("trainer").info("a record", &[])?;
    second.errors().log("ValueError", "", "", &[])?;

    let metrics = experiment.records("metrics.jsonl");
    let of_ranks = [0, 1].map(|rank| metrics.iter().filter(|it| it["rank"] == rank).count());
    assert_eq!(of_ranks, [5, 5]);
    let ranks: Vec<_> = experiment
        .records("main.log")
        .iter()
        .map(|record| record["context"]["rank"].clone())
        .collect();
    assert_eq!(ranks, [json!(0), json!(1)]);
    assert_eq!(experiment.record("errors.jsonl")["rank"], 1);
    assert_eq!((first.attempt(), second.attempt()), (1, 1));
    Ok(())
}

#[test]
fn the_earliest_error_of_all_ranks_comes_first() -> Result<()> {
    let experiment = Experiment::new();
    let runs = [
        open_rank(&experiment, 0, true)?,
        open_rank(&experiment, 1, true)?,
        open_rank(&experiment, 2, true)?,
    ];
    // Rank 1 runs out of memory first. Then the others lose their connections, and rank 0's file is read first.
    for (rank, error_type) in
        [(1, "OutOfMemory"), (0, "BrokenPipe"), (2, "BrokenPipe"), (0, "BrokenPipe")]
    {
        experiment.clock.advance(1_000_000);
        runs[rank].errors().log(error_type, &format!("on {rank}"), "", &[])?;
    }

    let report = RunReader::open(experiment.folder())?.errors(3)?;

    let counts: Vec<_> =
        report.counts.iter().map(|kind| (kind.error_type.as_str(), kind.count)).collect();
    assert_eq!(counts, [("BrokenPipe", 3), ("OutOfMemory", 1)]);
    let first = report.first.expect("the earliest");
    assert_eq!((first.error_type.as_str(), first.rank), ("OutOfMemory", Some(1)));
    let recent: Vec<_> = report.recent.iter().map(|error| error.rank).collect();
    assert_eq!(recent, [Some(0), Some(2), Some(0)], "the newest first");
    Ok(())
}

#[test]
fn ranks_that_resume_go_over_the_steps_of_every_shard() -> Result<()> {
    let experiment = Experiment::new();
    for first in [0, 6] {
        let runs = [open_rank(&experiment, 0, true)?, open_rank(&experiment, 1, true)?];
        assert_eq!(runs[0].attempt(), runs[1].attempt());
        for run in &runs {
            let attempt = run.attempt();
            for step in first..10 {
                run.metrics().log_step(step, NO_EPOCH, &fields! { attempt })?;
            }
        }
    }

    let attempts = |query| -> Result<Vec<_>> {
        let entries = RunReader::open(experiment.folder())?.entries(query)?;
        let found = entries
            .iter()
            .map(|entry| (entry["step"].clone(), entry["metrics"]["attempt"].clone()));
        Ok(found.collect())
    };
    let expected: Vec<_> = (0..10)
        .flat_map(|step| [step, step])
        .map(|step| (json!(step), json!(if step < 6 { 1 } else { 2 })))
        .collect();
    assert_eq!(attempts(Query::default())?, expected);
    assert_eq!(attempts(Query { all_attempts: true, ..Query::default() })?.len(), 28);
    Ok(())
}
