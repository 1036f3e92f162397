//! `model-foundry show`: one page about a run.

use std::fs;
use std::process::Stdio;

use anyhow::Result;
use model_foundry_tests::{
    Workplace, each, eventually, logged_experiment, model_foundry_on, printed, printed_json,
};
use serde_json::Value;

#[test]
fn show_tells_what_a_run_did() -> Result<()> {
    let experiment = logged_experiment()?;

    let page = printed(&model_foundry_on("show", &experiment));

    let (head, rest) = page.split_once("\n\n").expect("a head");
    let expected = format!("tiny  completed in 0.0 s  {}\n", experiment.folder().display());
    assert!(head.starts_with(&(expected + "2025-01-02 03:04:05 UTC · ")), "{head}");
    insta::assert_snapshot!(rest, @r"
      metric             count  last     mean   min   max      std  trend
      loss                   5   0.2  0.45667   0.2     1  0.32438  █▃▂▁▁
      tokens                 5   500      300   100   500   158.11  ▁▃▅▇█
      val_loss (epochs)      1  0.25     0.25  0.25  0.25        0  ▅
      not finite: loss was 1 × NaN, first at step 6

      timing   count  total      mean       p50       p95       max
      forward      2  1.0 s  500.0 ms  250.0 ms  750.0 ms  750.0 ms

    errors  1 × OSError, 1 × ValueError
      first, 2025-01-02 03:04:05: ValueError: bad value
    ");
    Ok(())
}

#[test]
fn show_tells_it_as_json() -> Result<()> {
    let experiment = logged_experiment()?;

    let page = printed_json(&model_foundry_on("show --json", &experiment))?;

    assert_eq!(page["run"]["experiment"], "tiny");
    assert_eq!(page["run"]["attempts"][0]["status"], "completed");
    let names: Vec<_> = each(&page["metrics"]).map(|metric| &metric["name"]).collect();
    assert_eq!(names, ["loss", "tokens", "val_loss"]);
    assert_eq!(page["metrics"][2]["of_summaries"], true);
    assert_eq!(page["omitted"]["rows"], 0);
    assert_eq!(page["metrics"][0]["statistics"]["nan"], 1);
    assert_eq!(page["timings"][0]["total"], 1.0);
    assert_eq!(each(&page["errors"]["counts"]).count(), 2);
    assert_eq!(page["memory"]["samples"], 0);
    assert_eq!(page["damaged_lines"], 0);
    Ok(())
}

#[test]
fn a_run_that_is_under_way_is_told_from_one_that_died() -> Result<()> {
    let place = Workplace::new();
    let script = "echo 'step 1: loss 0.5'; exec sleep 60";
    let mut process = place
        .command(&["run", "--experiment", "tiny", "--", "sh", "-c", script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let metrics = place.path("runs/tiny/metrics.jsonl");
    eventually("a step", || fs::read_to_string(&metrics).is_ok_and(|text| !text.is_empty()));

    let status = || -> Result<Value> {
        let shown = printed_json(&place.model_foundry(&["show", "--json", "runs/tiny"]))?;
        Ok(shown["run"]["attempts"][0]["status"].clone())
    };
    assert_eq!(status()?, "running");
    process.kill()?;
    process.wait()?;
    eventually("the run has died", || status().is_ok_and(|status| status == "died"));
    Ok(())
}
