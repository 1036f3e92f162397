//! `model-foundry stats`: statistics of metrics.

use anyhow::Result;
use model_foundry_tests::{
    each, logged_experiment, model_foundry, model_foundry_on, printed, printed_json, sentence,
};

#[test]
fn stats_are_of_all_metrics_or_of_those_named() -> Result<()> {
    let experiment = logged_experiment()?;

    insta::assert_snapshot!(printed(&model_foundry_on("stats", &experiment)), @r"
    metric  count     mean      std  min      p50  p95  p99  max  last     non-finite
    loss        5  0.45667  0.32438  0.2  0.33301    1    1    1   0.2  1 from step 6
    tokens      5      300   158.11  100      301  500  500  500   500              0
    ");
    let folder = experiment.folder().to_string_lossy();
    let of_tokens = ["stats", "--json", "--steps", "2..4", &folder, "tokens"];
    let statistics = printed_json(&model_foundry(of_tokens))?;
    assert_eq!(each(&statistics).count(), 1);
    assert_eq!(statistics[0]["name"], "tokens");
    assert_eq!(statistics[0]["statistics"]["count"], 3);
    assert_eq!(statistics[0]["statistics"]["mean"], 300.0);
    assert_eq!(
        sentence(&model_foundry(["stats", &folder, "loss", "accuracy"])),
        format!(
            "no metric \"accuracy\" in these steps; `model-foundry stats {folder}` lists all \
             metrics"
        )
    );
    Ok(())
}
