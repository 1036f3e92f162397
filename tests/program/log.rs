//! `model-foundry log`: log records that are read from standard input.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::Result;
use model_foundry_tests::{Workplace, printed_json, text, with_closed_pipe};
use serde_json::{Value, json};

/// Five valid records and six invalid ones.
const RECORDS: &str = r#"{"step":1,"epoch":0,"metrics":{"loss":0.5}}
{"step":2,"metrics":{"loss":NaN,"lr":-Infinity,"note":"NaN"}}

{"level":"LOUD","message":"x"}
{"epoch":0,"summary":{"val_loss":0.4}}
{"step":-1,"metrics":{}}
{"level":"warning","message":"saved","fields":{"step":1}}
{"error_type":"ValueError","error_message":"bad","traceback":"a\nb","context":{"a":1}}
{"step":3}
{"step":3,"metrics":{"loss":1},"extra":1}
{"metrics":{"loss":1}}
{"step":3,"metrics":[1]}
"#;

#[test]
fn log_keeps_good_records_and_tells_bad_ones() {
    let place = Workplace::new();

    let output = place.log(&[], RECORDS);

    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let errors = text(&output.stderr);
    let errors: Vec<_> =
        errors.lines().filter(|line| !line.contains("WARNING tiny: saved")).collect();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    line 4: `level` must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, got "LOUD"
    line 6: `step` must be a non-negative integer, got -1
    line 9: a record needs `metrics`, `summary`, `message` or `error_type`
    line 10: unknown key "extra" in this kind of record
    line 11: `metrics` needs a `step`
    line 12: `metrics` must be an object, got [1]
    logged 5 records, rejected 6 lines
    "#);
    insta::assert_snapshot!(place.lines("metrics.jsonl"), @r#"
    {"step":1,"epoch":0,"metrics":{"loss":0.5}}
    {"step":2,"metrics":{"loss":null,"lr":null,"note":"NaN"},"non_finite":{"loss":"NaN","lr":"-inf"}}
    {"epoch":0,"summary":{"val_loss":0.4}}
    "#);
    let record: Value = serde_json::from_str(&place.text("main.log")).expect("one record");
    assert_eq!((&record["level"], &record["message"]), (&json!("WARNING"), &json!("saved")));
    assert_eq!(record["context"]["step"], 1);
    insta::assert_snapshot!(place.lines("errors.jsonl"), @r#"{"error_type":"ValueError","error_message":"bad","traceback":"a\nb","context":{"a":1}}"#);
    assert_eq!(place.attempts("status"), ["failed"]);
}

#[test]
fn log_tells_what_is_no_json() {
    let place = Workplace::new();

    let output = place.log(&[], "garbage\n[1]\n{\"step\":1,\"metrics\":{\n\"text\"\n");

    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.ends_with("logged 0 records, rejected 4 lines\n"), "{errors}");
    for (number, line) in (1..).zip(errors.lines().take(4)) {
        assert!(line.starts_with(&format!("line {number}: not a JSON object: ")), "{line}");
        // serde_json names a line and a column. The line is the program's own, so only the column may stay.
        assert!(!line.contains(" at line "), "{line}");
        assert!(!line.contains(" column ") || line.contains(" at column "), "{line}");
    }
}

#[test]
fn log_counts_as_json() -> Result<()> {
    let place = Workplace::new();

    let some = place.log(&["--json"], RECORDS);
    let all = place.log(&["--json"], "{\"step\":1,\"metrics\":{\"loss\":1}}\n");

    let counts: Value = serde_json::from_slice(&some.stdout)?;
    assert_eq!(counts, json!({ "logged": 5, "bad_lines": 6, "not_stored": 0 }));
    let counts = printed_json(&all)?;
    assert_eq!(counts, json!({ "logged": 1, "bad_lines": 0, "not_stored": 0 }));
    assert_eq!(place.attempts("status"), ["failed", "completed"]);
    Ok(())
}

#[test]
fn a_closed_pipe_does_not_end_logging() -> Result<()> {
    let place = Workplace::new();
    let folder = place.path("runs/tiny");
    let input = "{\"step\":1,\"metrics\":{\"loss\":0.5}}\n";

    let ended = with_closed_pipe(&["log", "--json", "--dir", &folder.to_string_lossy()], input)?;

    assert_eq!(ended, (String::new(), Some(0)));
    assert_eq!(place.text("metrics.jsonl").lines().count(), 1);
    assert_eq!(place.attempts("status"), ["completed"]);
    Ok(())
}

#[test]
fn a_closed_console_does_not_end_logging() -> Result<()> {
    let place = Workplace::new();
    let mut process = place
        .command(&["log", "--dir", "runs/tiny"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(process.stderr.take());
    let mut stdin = process.stdin.take().expect("its standard input");
    // Each is printed on the console too. If that ended the program, the next write would fail.
    let written = (0..3).try_for_each(|_| stdin.write_all(b"{\"message\":\"saved\"}\n"));
    drop(stdin);

    assert_eq!(process.wait()?.code(), Some(0));
    written?;
    assert_eq!(place.text("main.log").lines().count(), 3);
    assert_eq!(place.attempts("status"), ["completed"]);
    Ok(())
}
