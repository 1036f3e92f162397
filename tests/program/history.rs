//! `model-foundry history`: the steps of a run.

use anyhow::Result;
use model_foundry::fields;
use model_foundry_tests::{
    Experiment, NO_EPOCH, logged_experiment, model_foundry_on, printed, sentence,
};

#[test]
fn history_includes_both_ends() -> Result<()> {
    let experiment = logged_experiment()?;
    let rows = |words: &str| -> Vec<String> {
        let table = printed(&model_foundry_on(words, &experiment));
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };

    assert_eq!(
        rows("history --steps 2..4"),
        ["step epoch loss tokens", "2 0.5 0.5 200", "3 0.5 0.33333 300", "4 0.5 0.25 400"]
    );
    assert_eq!(
        rows("history --steps 5.. --metric loss"),
        ["step epoch loss", "5 0.5 0.2", "6 NaN"]
    );
    assert_eq!(rows("history --steps ..1")[1..], ["1 0.5 1 100"]);
    assert_eq!(rows("history --steps 3")[1..], ["3 0.5 0.33333 300"]);
    assert!(rows("history --steps 7..9")[1..].is_empty());
    let all = rows("history");
    assert_eq!(all[0], "step epoch loss tokens val_loss");
    assert_eq!(all.len(), 8);
    assert_eq!(all.iter().filter(|row| *row == "summary 0.5 0.25").count(), 1, "{all:?}");
    Ok(())
}

#[test]
fn history_is_a_table_for_other_programs() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let metrics = run.metrics();
    metrics.log_step(1, 0.5, &fields! { loss: 0.1, note: "a, \"b\"", seen: u64::MAX })?;
    metrics.log_step(2, NO_EPOCH, &fields! { loss: f64::NEG_INFINITY, "train/acc": 1 })?;
    metrics.log_epoch_summary(1, &fields! { val_loss: 0.25 })?;
    drop(run);

    insta::assert_snapshot!(printed(&model_foundry_on("history --csv", &experiment)), @r#"
    step,epoch,timestamp,attempt,rank,loss,seen,train/acc,val_loss,note
    1,0.5,2025-01-02T03:04:05.678901Z,1,,0.1,18446744073709551615,,,"a, ""b"""
    2,,2025-01-02T03:04:05.678901Z,1,,-inf,,1,,
    ,1,2025-01-02T03:04:05.678901Z,1,,,,,0.25,
    "#);
    let some = "history --csv --metric train/* --metric note";
    insta::assert_snapshot!(printed(&model_foundry_on(some, &experiment)), @r#"
    step,epoch,timestamp,attempt,rank,train/acc,note
    1,0.5,2025-01-02T03:04:05.678901Z,1,,,"a, ""b"""
    2,,2025-01-02T03:04:05.678901Z,1,,1,
    ,1,2025-01-02T03:04:05.678901Z,1,,,
    "#);
    let some = "history --json --metric *loss --metric seen";
    insta::assert_snapshot!(printed(&model_foundry_on(some, &experiment)), @r#"
    {"timestamp":"2025-01-02T03:04:05.678901Z","step":1,"epoch":0.5,"metrics":{"loss":0.1,"seen":18446744073709551615}}
    {"timestamp":"2025-01-02T03:04:05.678901Z","step":2,"metrics":{"loss":null},"non_finite":{"loss":"-inf"}}
    {"timestamp":"2025-01-02T03:04:05.678901Z","epoch":1,"summary":{"val_loss":0.25}}
    "#);
    let error = sentence(&model_foundry_on("history --metric los", &experiment));
    assert_eq!(error, "no metric \"los\"; did you mean loss, val_loss?");
    Ok(())
}

#[test]
fn history_as_json_is_the_lines_of_the_file() -> Result<()> {
    let experiment = logged_experiment()?;
    let file = experiment.text("metrics.jsonl");

    assert_eq!(printed(&model_foundry_on("history --json", &experiment)), file);
    let steps: String = file.split_inclusive('\n').skip(1).take(3).collect();
    assert_eq!(printed(&model_foundry_on("history --json --steps 2..4", &experiment)), steps);
    // The summary is left out: it has no step.
    assert_eq!(
        printed(&model_foundry_on("history --json --steps 0..", &experiment)).lines().count(),
        6
    );
    Ok(())
}
