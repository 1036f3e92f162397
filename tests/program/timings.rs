//! `model-foundry timings`: how long timed operations took.

use anyhow::Result;
use model_foundry_tests::{logged_experiment, model_foundry_on, printed, printed_json};
use serde_json::json;

#[test]
fn timings_are_told_in_seconds() -> Result<()> {
    let experiment = logged_experiment()?;

    insta::assert_snapshot!(printed(&model_foundry_on("timings", &experiment)), @r"
    timing   count  total      mean       p50       p95       max
    forward      2  1.0 s  500.0 ms  250.0 ms  750.0 ms  750.0 ms
    ");
    let timings = printed_json(&model_foundry_on("timings --json", &experiment))?;
    assert_eq!((&timings[0]["name"], &timings[0]["mean"]), (&json!("forward"), &json!(0.5)));
    Ok(())
}
