//! `model-foundry history`: the steps of a run.

use anyhow::Result;
use model_foundry_tests::{logged_experiment, model_foundry_on, printed};

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
