//! `model-foundry stats`: statistics of metrics.

use anyhow::Result;
use model_foundry::fields;
use model_foundry_tests::{
    Experiment, NO_EPOCH, each, logged_experiment, model_foundry, model_foundry_on, printed,
    printed_json, sentence,
};

#[test]
fn stats_are_of_all_metrics_or_of_those_named() -> Result<()> {
    let experiment = logged_experiment()?;

    insta::assert_snapshot!(printed(&model_foundry_on("stats", &experiment)), @r"
    metric             count     mean      std   min      p50   p95   p99   max  last     non-finite
    loss                   5  0.45667  0.32438   0.2  0.33333     1     1     1   0.2  1 from step 6
    tokens                 5      300   158.11   100      300   500   500   500   500              0
    val_loss (epochs)      1     0.25        0  0.25     0.25  0.25  0.25  0.25  0.25              0
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
        "no metric \"accuracy\"; there are loss, tokens, val_loss"
    );
    assert_eq!(
        sentence(&model_foundry(["stats", &folder, "los"])),
        "no metric \"los\"; did you mean loss, val_loss?"
    );
    let statistics = printed_json(&model_foundry(["stats", "--json", &folder, "*loss"]))?;
    let names: Vec<_> = each(&statistics).map(|metric| &metric["name"]).collect();
    assert_eq!(names, ["loss", "val_loss"]);
    Ok(())
}

#[test]
fn percentiles_that_are_not_exact_are_marked() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    for step in 0..1_001_u64 {
        run.metrics().log_step(step, NO_EPOCH, &fields! { loss: step, lr: 0.1 })?;
        run.performance().record("forward", step as f64)?;
        if step == 999 {
            let of = run.metrics().statistics("loss")?;
            assert_eq!((of.p50, of.p99, of.percentiles_exact), (499.0, 989.0, true));
        }
    }
    drop(run);

    insta::assert_snapshot!(printed(&model_foundry_on("stats", &experiment)), @r"
    metric  count  mean     std  min      p50      p95      p99   max  last  non-finite
    loss    1,001   500  289.11    0  ≈501.99  ≈947.98  ≈987.98  1000  1000           0
    lr      1,001   0.1       0  0.1      0.1      0.1      0.1   0.1   0.1           0
    ");
    let statistics = printed_json(&model_foundry_on("stats --json", &experiment))?;
    assert_eq!(statistics[0]["statistics"]["percentiles_exact"], false);
    assert_eq!(statistics[1]["statistics"]["percentiles_exact"], true, "all samples are equal");
    let timings = printed(&model_foundry_on("timings", &experiment));
    assert!(timings.contains(" ≈8 min "), "{timings}");
    let timings = printed_json(&model_foundry_on("timings --json", &experiment))?;
    assert_eq!(timings[0]["percentiles_exact"], false);
    Ok(())
}
