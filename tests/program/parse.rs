//! `model-foundry parse` and `import`: what is read in an existing log; and the user's own patterns.

use anyhow::Result;
use model_foundry_tests::{Workplace, printed, sentence};
use serde_json::{Value, json};

const LOG: &str = "\
loading
step 1 | loss 2.5 | lr 1e-3
Step 1/3: Tokenizing with window=512
Validation: loss 2.0
";

#[test]
fn parse_shows_what_is_read_in_a_log() {
    let place = Workplace::new();
    place.write("train.log", LOG);
    let read = printed(&place.model_foundry(&["parse", "train.log"]));
    assert_eq!(read, "     2  step 1  loss 2.5  lr 0.001\n     4  step ~1  validation_loss 2\n");
}

#[test]
fn explained_lines_say_why_nothing_was_read() {
    let place = Workplace::new();
    place.write("train.log", LOG);
    let read = printed(&place.model_foundry(&["parse", "--explain", "train.log"]));
    assert!(read.contains("-: no number has a name"), "{read}");
    assert!(read.contains("pairs: names and numbers on a line"), "{read}");
    assert!(read.contains("-: a numbered stage, not a step of the training"), "{read}");
}

#[test]
fn parse_prints_json_lines() -> Result<()> {
    let place = Workplace::new();
    let bar = "\r 5%|▌| 5/100 [00:01<00:19, 4.9it/s, loss=nan]";
    place.write("train.log", bar);
    let read = printed(&place.model_foundry(&["parse", "--json", "train.log"]));
    let line: Value = serde_json::from_str(&read)?;
    assert_eq!(
        line["events"],
        json!([{"step": 5, "metrics": {"loss": null}, "non_finite": {"loss": "NaN"}}])
    );
    Ok(())
}

#[test]
fn a_log_is_imported_into_a_run() -> Result<()> {
    let place = Workplace::new();
    place.write("tiny.log", LOG);
    let said = printed(&place.model_foundry(&["import", "tiny.log"]));
    assert_eq!(said, "imported 2 rows and 0 errors from tiny.log into runs/tiny\n");
    let rows: Vec<Value> =
        place.text("metrics.jsonl").lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(rows[0]["metrics"], json!({"loss": 2.5, "lr": 0.001}));
    assert_eq!(rows[1]["step_inferred"], json!(true));
    assert_eq!(place.text("console.log"), LOG);
    // Each import is a run of its own, and a log that is missing leaves none.
    assert!(printed(&place.model_foundry(&["import", "tiny.log"])).ends_with("runs/tiny-2\n"));
    let failed = place.model_foundry(&["import", "missing.log"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(!place.path("runs/missing").exists());
    Ok(())
}

#[test]
fn run_reads_lines_by_the_user_s_patterns() -> Result<()> {
    let place = Workplace::new();
    let pattern = r"it (?<step>\d+) :: ce (?<loss>[\d.]+)";
    let script = "echo 'it 7 :: ce 0.25'; echo 'debug step 9 loss=1'; echo 'step 8 loss=0.5'";
    place.run(&["--quiet", "--pattern", pattern, "--ignore", "^debug"], script);
    assert_eq!(
        place.lines("metrics.jsonl"),
        "{\"step\":7,\"metrics\":{\"loss\":0.25}}\n{\"step\":8,\"metrics\":{\"loss\":0.5}}\n"
    );
    Ok(())
}

#[test]
fn patterns_may_stand_in_the_configuration() {
    let place = Workplace::new();
    place.write(
        "config.json",
        r#"{"logging": {}, "output": {"patterns": ["it (?<n>\\d+) ce=(?<loss>\\S+)"], "step_from": "n"}}"#,
    );
    place.run(&["--quiet", "--config", "config.json"], "echo 'it 7 ce=0.25'");
    assert_eq!(place.lines("metrics.jsonl"), "{\"step\":7,\"metrics\":{\"n\":7,\"loss\":0.25}}\n");
}

#[test]
fn a_pattern_that_does_not_compile_is_an_error_before_the_command_starts() {
    let place = Workplace::new();
    let output = place.run(&["--pattern", "it ("], "touch started");
    assert_ne!(output.status.code(), Some(0));
    let said = sentence(&output);
    assert!(said.contains("the pattern \"it (\" does not compile"), "{said}");
    assert!(!place.path("started").exists() && !place.path("runs").exists());
}
