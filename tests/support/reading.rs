//! Reading a run back.

use anyhow::Result;
use model_foundry::{Query, RunReader};
use serde_json::Value;

use crate::Experiment;

/// Every entry of a run: the summaries and the steps of every attempt.
pub const EVERYTHING: Query =
    Query { first_step: None, last_step: None, summaries: true, all_attempts: true, attempt: None };

/// The values of a JSON array.
pub fn each(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().expect("an array").iter()
}

/// The steps in a JSON Lines file, every line of which must be whole and have a step.
pub fn steps_of(experiment: &Experiment, file: &str) -> Vec<u64> {
    let records = experiment.records(file);
    records.iter().map(|record| record["step"].as_u64().expect("a step")).collect()
}

/// The steps that a reader finds in all attempts, and the number of damaged lines that it skips. The history and
/// the statistics must agree on both.
pub fn steps_read(experiment: &Experiment) -> Result<(Vec<u64>, u64)> {
    let mut reader = RunReader::open(experiment.folder())?;
    let (mut steps, mut losses) = (Vec::new(), 0);
    let report = reader.history(EVERYTHING, &mut |block| {
        for line in block.lines() {
            let entry: Value = serde_json::from_str(line).expect("JSON");
            steps.push(entry["step"].as_u64().expect("a step"));
            losses += u64::from(entry["metrics"]["loss"].is_f64());
        }
        true
    })?;
    let (statistics, same) = reader.statistics(EVERYTHING, &["loss".into()])?;
    let counted = statistics.first().map_or(0, |loss| loss.statistics.count);
    assert_eq!(counted, losses, "the statistics count the losses of the history");
    assert_eq!(same, report, "the statistics and the history leave out the same");
    Ok((steps, report.damage.lines))
}
