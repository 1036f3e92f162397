//! The program, command by command, as a person at a terminal and a script meet it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

use anyhow::Result;
use model_foundry::{LoggingConfig, fields};
use model_foundry_tests::Experiment;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::NO_EPOCH;
use crate::processes::{
    PATIENCE, command, eventually, model_foundry, model_foundry_fed, program, text,
};

/// A folder to work in, in which runs go to `runs/`.
struct Workplace(TempDir);

impl Workplace {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(program());
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Run the program here to its end.
    fn model_foundry(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// `model-foundry run` a script of the shell as experiment "tiny".
    fn run(&self, options: &[&str], script: &str) -> Output {
        let before = ["run", "--experiment", "tiny"];
        self.model_foundry(&[&before, options, &["--", "sh", "-c", script]].concat())
    }

    /// `model-foundry log` these records as experiment "tiny".
    fn log(&self, options: &[&str], input: &str) -> Output {
        let folder = self.path("runs/tiny");
        let folder = folder.to_str().expect("UTF-8");
        model_foundry_fed([&["log", "--dir", folder], options].concat(), input)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(file), content).expect("the file is written");
    }

    /// A file of the run.
    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path("runs/tiny").join(file)).expect("a file of the run")
    }

    /// The lines of one of the run's files of JSON Lines, without their times.
    fn lines(&self, file: &str) -> String {
        let without_time = |line: &str| {
            let mut record: Value = serde_json::from_str(line).expect("JSON");
            let members = record.as_object_mut().expect("a record");
            members.shift_remove("timestamp").expect("a timestamp");
            format!("{record}\n")
        };
        self.text(file).lines().map(without_time).collect()
    }

    /// One field of each attempt in run.json.
    fn attempts(&self, field: &str) -> Vec<Value> {
        let manifest: Value = serde_json::from_str(&self.text("run.json")).expect("JSON");
        each(&manifest["attempts"]).map(|attempt| attempt[field].clone()).collect()
    }
}

/// The values of a JSON array.
fn each(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().expect("an array").iter()
}

/// The page of a run without what differs from run to run: how long it took, when and where it ran, how
/// much memory it had.
fn redacted(page: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in page.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if line.starts_with("memory peak") {
            // Only a run of half a second has a sample.
            lines.pop();
        } else if let Some((_, rest)) = line.split_once(" UTC · ") {
            let rest: Vec<_> = rest.splitn(4, " · ").collect();
            lines.push(format!("[time] · [host] · {} · [commit] · {}", rest[1], rest[3]));
        } else if let Some(at) = words.iter().position(|word| matches!(*word, "in" | "after")) {
            lines.push([&words[..=at], &["[duration]"], &words[at + 3..]].concat().join(" "));
        } else if line.starts_with("  first, ") {
            let (_, error) = line.split_once("Z: ").expect("the time of an error");
            lines.push(format!("  first, [time]: {error}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

/// What the program says when it fails: one sentence.
fn sentence(output: &Output) -> String {
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(text(&output.stdout), "");
    assert_eq!(told.lines().count(), 1, "{told}");
    told.strip_prefix("error: ").unwrap_or_else(|| panic!("{told}")).trim_end().to_owned()
}

/// What the program prints when it succeeds, and says nothing.
fn printed(output: &Output) -> String {
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    text(&output.stdout)
}

fn printed_json(output: &Output) -> Result<Value> {
    Ok(serde_json::from_str(&printed(output))?)
}

/// Run a command with these words and a run folder.
fn of(words: &str, experiment: &Experiment) -> Output {
    let words = words.split(' ').map(AsRef::as_ref);
    model_foundry(words.chain([experiment.folder().as_os_str()]))
}

/// A run of six steps with everything else that is logged.
fn logged() -> Result<Experiment> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let metrics = run.metrics();
    for step in 1..=5_u64 {
        let loss = 1.0 / step as f64;
        metrics.log_step(step, Some(0.5), &fields! { loss, tokens: step * 100 })?;
    }
    metrics.log_epoch_summary(0.5, &fields! { val_loss: 0.25 })?;
    metrics.log_step(6, NO_EPOCH, &fields! { loss: f64::NAN })?;
    run.logger("trainer").info("saved", &fields! { step: 5 })?;
    run.performance().record("forward", 0.25)?;
    run.performance().record("forward", 0.75)?;
    run.errors().log("ValueError", "bad value", "line 1\nline 2", &fields! { step: 3 })?;
    run.errors().log("OSError", "no file", "line 3", &[])?;
    Ok(experiment)
}

/// What a trainer may print, in the manners of nanoGPT, JSON, Megatron and `name=value`.
const OUTPUT: &str = "\
loading the data
iter 1: loss 2.5000, time 10.50ms, mfu 1.00%
{\"step\": 3, \"loss\": 0.75, \"note\": \"é\"}
 iteration       10/     100 | lm loss: 6.5E-01 | learning rate: 1.0E-04 |
step=11 loss=0.5 lr=1e-3
step 12: loss nan
done
";

const TRACEBACK: &str = "\
Traceback (most recent call last):
  File \"train.py\", line 2, in main
    raise ValueError(\"bad value\")
ValueError: bad value
";

#[test]
fn run_passes_output_through_byte_for_byte() {
    let place = Workplace::new();
    // Every byte there is, and what steers a terminal, without a newline at the end.
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at * 7 % 256) as u8).collect();
    let others: Vec<u8> = bytes.iter().rev().copied().chain(*b"progress 50%\r\x1b[2K").collect();
    place.write("out", &bytes);
    place.write("err", &others);

    let output = place.run(&["--quiet"], "cat out; cat err >&2");

    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == bytes, "standard output is what it was");
    assert!(output.stderr == others, "standard error is what it was, and nothing else");
}

#[test]
fn run_passes_bytes_that_are_no_text_through() {
    let here = Workplace::new();
    let output = here.run(&[], "printf 'caf\\351 \\377\\n'; head -c 300000 /dev/zero");
    assert_eq!(output.stdout.len(), 7 + 300_000);
    assert_eq!(output.stdout[..7], *b"caf\xe9 \xff\n");
}

#[test]
fn a_command_whose_reader_has_gone_is_trained_to_its_end() -> Result<()> {
    let here = Workplace::new();
    let script = "for i in 1 2 3; do echo \"step $i: loss 0.5\"; sleep 0.1; done; exit 4";
    let mut process = here
        .command(&["run", "--experiment", "tiny", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop((process.stdout.take(), process.stderr.take()));
    assert_eq!(process.wait()?.code(), Some(4));
    assert_eq!(here.text("metrics.jsonl").lines().count(), 3);
    Ok(())
}

#[test]
fn a_run_that_is_under_way_is_told_from_one_that_died() -> Result<()> {
    let here = Workplace::new();
    let script = "echo 'step 1: loss 0.5'; exec sleep 60";
    let mut process = here
        .command(&["run", "--experiment", "tiny", "--", "sh", "-c", script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let metrics = here.path("runs/tiny/metrics.jsonl");
    eventually("a step", || fs::read_to_string(&metrics).is_ok_and(|text| !text.is_empty()));

    let status = || -> Result<Value> {
        let shown = printed_json(&here.model_foundry(&["show", "--json", "runs/tiny"]))?;
        Ok(shown["run"]["attempts"][0]["status"].clone())
    };
    assert_eq!(status()?, "running");
    process.kill()?;
    process.wait()?;
    eventually("the run has died", || status().is_ok_and(|status| status == "died"));
    Ok(())
}

#[test]
fn run_keeps_the_exit_code() {
    let place = Workplace::new();
    let mut cases = vec![
        ("exit 0", 0, "completed"),
        ("exit 3", 3, "failed"),
        ("exit 255", 255, "failed"),
        ("kill -TERM $$", 143, "interrupted"),
        ("kill -KILL $$", 137, "failed"),
    ];
    // Who runs the tests as a shell's background job has SIGINT ignored, here and in every child.
    if !model_foundry::not_ignored(&[Signal::INT.as_raw()]).is_empty() {
        cases.push(("kill -INT $$", 130, "interrupted"));
    }
    for &(script, code, status) in &cases {
        let output = place.run(&["--quiet"], script);

        assert_eq!(output.status.code(), Some(code), "{script}");
        assert_eq!(place.attempts("exit_code").last(), Some(&json!(code)));
        assert_eq!(place.attempts("status").last(), Some(&json!(status)), "{script}");
    }
    assert_eq!(place.attempts("attempt").len(), cases.len());
}

#[test]
fn run_passes_a_signal_on() -> Result<()> {
    let orderly = "trap 'echo stopped; exit 9' TERM; echo ready; while :; do sleep 0.02; done";
    for (script, code, last) in [(orderly, 9, "stopped\n"), ("echo ready; exec sleep 60", 143, "")]
    {
        let place = Workplace::new();
        let arguments = ["run", "--quiet", "--experiment", "tiny", "--", "sh", "-c", script];
        let mut process = place.command(&arguments).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(process.stdout.take().expect("its output"));
        let mut line = String::new();
        output.read_line(&mut line)?;
        assert_eq!(line, "ready\n");

        // To the program alone, not to its process group.
        let pid = Pid::from_raw(process.id().try_into()?).expect("a process id");
        kill_process(pid, Signal::TERM)?;

        assert_eq!(std::io::read_to_string(output)?, last);
        assert_eq!(process.wait()?.code(), Some(code));
        assert_eq!(place.attempts("exit_code"), [code]);
    }
    Ok(())
}

#[test]
fn run_keeps_what_was_printed() {
    let place = Workplace::new();
    place.write("out", OUTPUT);

    place.run(&["--quiet"], "cat out; printf 'a warning\\nno newline' >&2");

    let transcript = place.text("console.log");
    let (warnings, rest): (Vec<_>, Vec<_>) = transcript
        .split_inclusive('\n')
        .partition(|line| ["a warning\n", "no newline\n"].contains(line));
    assert_eq!(warnings.concat(), "a warning\nno newline\n");
    assert_eq!(rest.concat(), OUTPUT);
}

#[test]
fn run_logs_the_metrics_that_were_printed() {
    let place = Workplace::new();
    place.write("out", OUTPUT);

    place.run(&["--quiet"], "cat out");

    insta::assert_snapshot!(place.lines("metrics.jsonl"), @r#"
    {"step":1,"metrics":{"loss":2.5,"time":10.5,"mfu":1.0}}
    {"step":3,"metrics":{"loss":0.75}}
    {"step":10,"metrics":{"lm_loss":0.65,"learning_rate":0.0001}}
    {"step":11,"metrics":{"loss":0.5,"lr":0.001}}
    {"step":12,"metrics":{"loss":null},"non_finite":{"loss":"NaN"}}
    "#);
}

#[test]
fn a_second_run_is_the_second_attempt() {
    let place = Workplace::new();
    // As Hugging Face's trainer prints: no steps, which count on.
    place.write("out", "{'loss': 0.25, 'epoch': 0.5}\n{'loss': 0.125, 'epoch': 1.0}\n");

    place.run(&["--quiet"], "cat out");
    place.run(&["--quiet"], "cat out");

    insta::assert_snapshot!(place.lines("metrics.jsonl"), @r#"
    {"step":1,"epoch":0.5,"step_inferred":true,"metrics":{"loss":0.25}}
    {"step":2,"epoch":1,"step_inferred":true,"metrics":{"loss":0.125}}
    {"step":3,"epoch":0.5,"attempt":2,"step_inferred":true,"metrics":{"loss":0.25}}
    {"step":4,"epoch":1,"attempt":2,"step_inferred":true,"metrics":{"loss":0.125}}
    "#);
    assert_eq!(place.attempts("attempt"), [1, 2]);
    assert_eq!(place.attempts("status"), ["completed", "completed"]);
}

#[test]
fn run_logs_a_traceback_as_an_error() {
    let place = Workplace::new();
    place.write("err", TRACEBACK);

    let output = place.run(&["--quiet"], "cat err >&2; exit 1");

    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(place.lines("errors.jsonl"), @r#"{"error_type":"ValueError","error_message":"bad value","traceback":"Traceback (most recent call last):\n  File \"train.py\", line 2, in main\n    raise ValueError(\"bad value\")\nValueError: bad value","context":{}}"#);
}

#[test]
fn run_tells_the_command_its_folder() -> Result<()> {
    let place = Workplace::new();

    let output = place.run(&["--quiet"], "cd /; printf %s \"$MODEL_FOUNDRY_RUN_DIR\"");

    let told = text(&output.stdout);
    assert!(Path::new(&told).is_absolute(), "{told}");
    assert_eq!(fs::canonicalize(told)?, fs::canonicalize(place.path("runs/tiny"))?);
    Ok(())
}

#[test]
fn run_ends_with_the_page() {
    let place = Workplace::new();
    place.write("out", OUTPUT);
    place.write("err", TRACEBACK);

    let output = place.run(&[], "cat out; cat err >&2; exit 1");

    assert_eq!(text(&output.stdout), OUTPUT, "standard output is the command's");
    let told = text(&output.stderr);
    let page = told.strip_prefix(TRACEBACK).and_then(|told| told.strip_prefix('\n'));
    let page = page.unwrap_or_else(|| panic!("{told}"));
    insta::assert_snapshot!(redacted(page), @r"
    tiny  failed with exit code 1 after [duration]  runs/tiny
    [time] · [host] · cpu · [commit] · sh -c cat out; cat err >&2; exit 1

      metric         count      last      mean       min       max     std  trend
      loss               3       0.5      1.25       0.5       2.5  1.0897  █▂▁
      time               1      10.5      10.5      10.5      10.5       0  ▅
      mfu                1         1         1         1         1       0  ▅
      lm_loss            1      0.65      0.65      0.65      0.65       0  ▅
      learning_rate      1  1.000e-4  1.000e-4  1.000e-4  1.000e-4       0  ▅
      lr                 1     0.001     0.001     0.001     0.001       0  ▅
      not finite: loss was 1 × NaN, first at step 12

    errors  1 × ValueError
      first, [time]: ValueError: bad value
    ");
    assert_eq!(printed(&place.model_foundry(&["show", "runs/tiny"])), page);
}

#[test]
fn what_cannot_be_run_leaves_nothing_behind() {
    let place = Workplace::new();
    place.write("bad.toml", "max_log_files = 0\n");
    place.write("config.ini", "");
    let refused = |options: &[&str], program: &str, expected: &str| {
        let output = place.model_foundry(&[&["run"], options, &["--", program]].concat());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert_eq!(told, format!("error: {expected}\n"));
        assert!(!place.path("runs").exists(), "{options:?} {program}: a folder was made");
    };

    refused(&["--config", "nowhere.toml"], "true", "nowhere.toml: there is no such file");
    refused(
        &["--config", "config.ini"],
        "true",
        "config.ini: a configuration's name ends in .json, .toml, .yaml or .yml",
    );
    refused(
        &["--config", "bad.toml"],
        "true",
        "bad.toml breaks a rule:\n  \
         max_log_files = 0: must be a whole number above 0 (at most 4294967295)",
    );
    for name in ["a/b", "..", ".hidden", "", &"x".repeat(201)] {
        let expected = format!(
            "the experiment's name {name:?} cannot name a folder: use 1 to 200 bytes, no slashes, \
             no leading dot"
        );
        refused(&["--experiment", name], "true", &expected);
    }
    let missing = "no-such-program: there is no such program in the folders of PATH";
    refused(&[], "no-such-program", missing);
    refused(&[], "./no-such-program", "./no-such-program: there is no such program");
}

#[test]
fn what_is_no_program_leaves_nothing_behind() {
    let place = Workplace::new();
    place.write("not-executable", "#!/bin/sh\n");
    for program in ["./not-executable", "/"] {
        let told = sentence(&place.model_foundry(&["run", "--experiment", "tiny", "--", program]));
        assert!(told.starts_with(&format!("{program}: ")), "{told}");
        assert!(!place.path("runs").exists(), "{program}: a folder was made");
    }
}

#[test]
fn a_real_training_is_logged() -> Result<()> {
    let place = Workplace::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/train_char_model.py");
    let mut command = place.command(&["run", "--", "python3"]);
    let options = ["--steps", "30", "--batch-size", "4", "--log-every", "10"];
    let output = command.arg(&script).args(options).output()?;

    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let folder = place.path("runs/train_char_model");
    let lines = fs::read_to_string(folder.join("metrics.jsonl"))?;
    let records: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let losses: Vec<_> = records
        .iter()
        .filter_map(|record| Some((record["step"].as_u64()?, record["metrics"]["loss"].as_f64()?)))
        .collect();
    let steps: Vec<_> = losses.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [1, 10, 20, 30]);
    assert!(losses[3].1 < losses[0].1, "it learns: {losses:?}");
    assert!(folder.join("checkpoints").is_dir(), "the trainer was told the folder");
    let console = fs::read_to_string(folder.join("console.log"))?;
    assert_eq!(console, text(&output.stdout), "it prints to standard output alone");
    Ok(())
}

/// Five good records, and six bad ones.
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
    let told = text(&output.stderr);
    let told: Vec<_> = told.lines().filter(|line| !line.contains("WARNING tiny: saved")).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    line 4: level "LOUD" is none of DEBUG, INFO, WARNING, ERROR, CRITICAL
    line 6: step -1 is no whole number from 0 on
    line 9: it is no record: it needs metrics, a summary, a message or an error_type
    line 10: the field "extra" does not belong to such a record
    line 11: metrics need a step
    line 12: metrics must be an object, not [1]
    5 records logged, 6 lines bad
    "#);
    insta::assert_snapshot!(place.lines("metrics.jsonl"), @r#"
    {"step":1,"epoch":0,"metrics":{"loss":0.5}}
    {"step":2,"metrics":{"loss":null,"lr":null,"note":"NaN"},"non_finite":{"loss":"NaN","lr":"-Infinity"}}
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
    let told = text(&output.stderr);
    assert!(told.ends_with("0 records logged, 4 lines bad\n"), "{told}");
    for (number, line) in (1..).zip(told.lines().take(4)) {
        assert!(line.starts_with(&format!("line {number}: it is no JSON object: ")), "{line}");
        // Where in the line, if anywhere: serde_json's own words are for texts of several lines.
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
fn show_tells_what_a_run_did() -> Result<()> {
    let experiment = logged()?;

    let page = printed(&of("show", &experiment));

    let (head, rest) = page.split_once("\n\n").expect("a head");
    let expected = format!("tiny  completed in 0.0 s  {}\n", experiment.folder().display());
    assert!(head.starts_with(&(expected + "2025-01-02 03:04:05 UTC · ")), "{head}");
    insta::assert_snapshot!(rest, @r"
      metric  count  last     mean  min  max      std  trend
      loss        5   0.2  0.45667  0.2    1  0.32438  █▃▂▁▁
      tokens      5   500      300  100  500   158.11  ▁▃▅▇█
      not finite: loss was 1 × NaN, first at step 6

      timing   count  total      mean       p50       p95       max
      forward      2  1.0 s  500.0 ms  251.0 ms  750.0 ms  750.0 ms

    errors  1 × OSError, 1 × ValueError
      first, 2025-01-02T03:04:05.678901Z: ValueError: bad value
    ");
    Ok(())
}

#[test]
fn show_tells_it_as_json() -> Result<()> {
    let experiment = logged()?;

    let page = printed_json(&of("show --json", &experiment))?;

    assert_eq!(page["run"]["experiment"], "tiny");
    assert_eq!(page["run"]["attempts"][0]["status"], "completed");
    let names: Vec<_> = each(&page["metrics"]).map(|metric| &metric["name"]).collect();
    assert_eq!(names, ["loss", "tokens"]);
    assert_eq!(page["metrics"][0]["statistics"]["nan"], 1);
    assert_eq!(page["timings"][0]["total"], 1.0);
    assert_eq!(each(&page["errors"]["counts"]).count(), 2);
    assert_eq!(page["memory"]["samples"], 0);
    assert_eq!(page["damaged_lines"], 0);
    Ok(())
}

#[test]
fn history_includes_both_ends() -> Result<()> {
    let experiment = logged()?;
    let rows = |words: &str| -> Vec<String> {
        let table = printed(&of(words, &experiment));
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
    assert_eq!(rows("history").len(), 7);
    Ok(())
}

#[test]
fn history_as_json_is_the_lines_of_the_file() -> Result<()> {
    let experiment = logged()?;
    let file = experiment.text("metrics.jsonl");

    assert_eq!(printed(&of("history --json", &experiment)), file);
    let steps: String = file.split_inclusive('\n').skip(1).take(3).collect();
    assert_eq!(printed(&of("history --json --steps 2..4", &experiment)), steps);
    // A summary is no step.
    assert_eq!(printed(&of("history --json --steps 0..", &experiment)).lines().count(), 6);
    Ok(())
}

#[test]
fn stats_are_of_all_metrics_or_of_those_named() -> Result<()> {
    let experiment = logged()?;

    insta::assert_snapshot!(printed(&of("stats", &experiment)), @r"
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
            "there is no metric \"accuracy\" in these steps; `model-foundry stats {folder}` lists \
             all"
        )
    );
    Ok(())
}

#[test]
fn errors_are_counted_and_the_earliest_is_told_in_full() -> Result<()> {
    let experiment = logged()?;

    insta::assert_snapshot!(printed(&of("errors", &experiment)), @r#"
         1 × OSError
         1 × ValueError

    the earliest, likely the cause of the others:
      2025-01-02T03:04:05.678901Z  ValueError: bad value
        {"step":3}
        line 1
        line 2

    the newest:
      2025-01-02T03:04:05.678901Z  OSError: no file
      2025-01-02T03:04:05.678901Z  ValueError: bad value
        {"step":3}
    "#);
    let report = printed_json(&of("errors --json -n 1", &experiment))?;
    assert_eq!(report["first"]["error_type"], "ValueError");
    let recent: Vec<_> = each(&report["recent"]).map(|error| &error["error_type"]).collect();
    assert_eq!(recent, ["OSError"]);
    Ok(())
}

#[test]
fn timings_are_told_in_seconds() -> Result<()> {
    let experiment = logged()?;

    insta::assert_snapshot!(printed(&of("timings", &experiment)), @r"
    timing   count  total      mean       p50       p95       max
    forward      2  1.0 s  500.0 ms  251.0 ms  750.0 ms  750.0 ms
    ");
    let timings = printed_json(&of("timings --json", &experiment))?;
    assert_eq!((&timings[0]["name"], &timings[0]["mean"]), (&json!("forward"), &json!(0.5)));
    Ok(())
}

#[test]
fn a_run_without_errors_and_timings_says_so() {
    let experiment = Experiment::new();
    drop(experiment.run());

    assert_eq!(printed(&of("errors", &experiment)), "no errors were logged in this run\n");
    assert_eq!(printed(&of("timings", &experiment)), "nothing was timed in this run\n");
    assert!(printed(&of("show", &experiment)).ends_with("\nno metrics were logged\n"));
}

#[test]
fn tail_prints_the_last_lines() -> Result<()> {
    let experiment = logged()?;
    let metrics = experiment.text("metrics.jsonl");
    let errors = experiment.text("errors.jsonl");

    let last: String = metrics.split_inclusive('\n').skip(5).collect();
    assert_eq!(printed(&of("tail --file metrics -n 2", &experiment)), last);
    assert_eq!(printed(&of("tail --file metrics -n 0", &experiment)), "");
    assert_eq!(printed(&of("tail --file metrics -n 99", &experiment)), metrics);
    assert_eq!(printed(&of("tail --file errors --json", &experiment)), errors);
    assert_eq!(printed(&of("tail", &experiment)), experiment.text("main.log"));
    let told = sentence(&of("tail --file console", &experiment));
    assert!(told.starts_with(&experiment.path("console.log").display().to_string()), "{told}");
    Ok(())
}

#[test]
fn tail_follows_over_a_rotation() -> Result<()> {
    let experiment = Experiment::new();
    let config = LoggingConfig { max_log_size_mb: 1, ..LoggingConfig::default() };
    let run = experiment.builder().config(config).open()?;
    let logger = run.logger("trainer");
    let padding = "x".repeat(300_000);
    let log = |record: u64| logger.info("", &fields! { record, padding: padding.as_str() });
    log(0)?;
    log(1)?;
    let mut process = command(program())
        .args(["tail", "--follow", "-n", "1"])
        .arg(experiment.folder())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(process.stdout.take().expect("its output"));
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let next = || -> Result<Value> {
        let record: Value = serde_json::from_str(&lines.recv_timeout(PATIENCE)?)?;
        Ok(record["context"]["record"].clone())
    };

    let last = next();
    // Each is waited for: of what is rotated twice between two looks only the newest is seen.
    let followed: Result<Vec<_>> = (2..8)
        .map(|record| {
            log(record)?;
            next()
        })
        .collect();

    process.kill()?;
    process.wait()?;
    assert_eq!(last?, 1);
    assert_eq!(followed?, [2, 3, 4, 5, 6, 7]);
    assert!(experiment.path("main.log.2").exists(), "it rotated twice");
    reader.join().expect("the reader ends")?;
    Ok(())
}

#[test]
fn config_check_tells_every_violation() -> Result<()> {
    let place = Workplace::new();
    place.write("bad.toml", "max_log_files = 0\nconsole_level = \"LOUD\"\nmax_log_file = 3\n");

    let told = place.model_foundry(&["config", "check", "bad.toml"]);
    let as_json = place.model_foundry(&["config", "check", "--json", "bad.toml"]);

    assert_eq!((told.status.code(), as_json.status.code()), (Some(1), Some(1)));
    assert_eq!((text(&told.stderr), text(&as_json.stderr)), (String::new(), String::new()));
    let told = text(&told.stdout);
    let expected = [
        "wrong  bad.toml",
        "  max_log_files = 0: must be a whole number above 0",
        "  console_level = \"LOUD\": must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
        "  max_log_file = 3: ",
    ];
    assert_eq!(told.lines().count(), expected.len());
    for (line, start) in told.lines().zip(expected) {
        assert!(line.starts_with(start), "{line}");
    }
    let answer: Value = serde_json::from_slice(&as_json.stdout)?;
    let fields: Vec<_> = each(&answer["violations"]).map(|violation| &violation["field"]).collect();
    assert_eq!(fields, ["max_log_files", "console_level", "max_log_file"]);
    Ok(())
}

#[test]
fn config_check_prints_what_a_configuration_comes_to() -> Result<()> {
    let place = Workplace::new();
    place.write("good.yaml", "model:\n  layers: 12\nlogging:\n  max_log_files: 3\n");

    let told = printed(&place.model_foundry(&["config", "check", "good.yaml"]));
    let whole = printed_json(&place.model_foundry(&["config", "check", "good.yaml", "--json"]))?;

    insta::assert_snapshot!(told, @r#"
    ok  good.yaml
    console_level = "INFO"
    file_level = "DEBUG"
    use_structured_logging = true
    log_to_wandb = true
    max_log_files = 3
    max_log_size_mb = 100
    log_metrics_every_n_steps = 10
    log_detailed_metrics_every_n_steps = 100
    profile_performance = false
    log_memory_every_n_steps = 100
    max_errors_to_track = 1000
    durability = "immediate"
    flush_interval_ms = 200
    "#);
    assert_eq!(whole["model"], json!({ "layers": 12 }));
    assert_eq!(whole["logging"]["max_log_files"], 3);
    let missing = sentence(&place.model_foundry(&["config", "check", "nowhere.toml"]));
    assert_eq!(missing, "nowhere.toml: there is no such file");
    Ok(())
}

#[test]
fn config_default_is_a_good_configuration_in_every_format() -> Result<()> {
    let place = Workplace::new();
    let mut read = Vec::new();
    for format in ["json", "toml", "yaml"] {
        let file = format!("default.{format}");
        let default = place.model_foundry(&["config", "default", "--format", format]);
        place.write(&file, printed(&default));
        read.push(printed_json(&place.model_foundry(&["config", "check", "--json", &file]))?);
    }

    assert_eq!(read[0], read[1]);
    assert_eq!(read[0], read[2]);
    let json = printed(&place.model_foundry(&["config", "default", "--json"]));
    assert_eq!(json, fs::read_to_string(place.path("default.json"))?);
    let schema = printed_json(&place.model_foundry(&["config", "schema"]))?;
    let names = |of: &Value| of.as_object().map(|of| of.keys().cloned().collect::<Vec<_>>());
    assert_eq!(names(&schema["properties"]), names(&read[0]["logging"]));
    Ok(())
}

#[test]
fn the_component_can_touch_nothing_else() -> Result<()> {
    let report = printed_json(&model_foundry(["component", "inspect", "--json"]))?;

    let imports: Vec<_> =
        each(&report["imports"]).filter_map(|import| import["name"].as_str()).collect();
    assert_eq!(
        imports,
        [
            "wasi:clocks/wall-clock@0.2.12",
            "wasi:clocks/monotonic-clock@0.2.12",
            "model-foundry:logging/files@0.1.0",
            "model-foundry:logging/gpu@0.1.0",
            "model-foundry:logging/system@0.1.0",
        ]
    );
    let page = printed(&model_foundry(["component", "inspect"]));
    let told: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert!(imports.iter().all(|import| told.contains(import)), "{page}");
    Ok(())
}

#[test]
fn what_is_no_component_is_told_in_one_sentence() -> Result<()> {
    let place = Workplace::new();
    place.write("garbage.wasm", "garbage");
    place.write("core.wasm", wat::parse_str("(module)")?);
    place.write("damaged.wasm", b"\0asm\x0d\0\x01\0\xff\xff\xff\xff");
    let told = |file| sentence(&place.model_foundry(&["component", "inspect", file]));

    assert_eq!(told("garbage.wasm"), "garbage.wasm: this is not WebAssembly");
    assert_eq!(
        told("core.wasm"),
        "core.wasm: this is a core module, not a component; encode it with wit-component"
    );
    let damaged = told("damaged.wasm");
    assert!(damaged.starts_with("damaged.wasm: the component is damaged: "), "{damaged}");
    let missing = told("nowhere.wasm");
    assert!(missing.starts_with("nowhere.wasm: "), "{missing}");
    Ok(())
}

#[test]
fn gpus_without_a_driver_are_unavailable() -> Result<()> {
    let told = printed(&model_foundry(["gpu"]));
    let as_json = printed_json(&model_foundry(["gpu", "--json"]))?;

    assert!(told.starts_with("unavailable: no NVIDIA driver: "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert_eq!(as_json["devices"], json!([]));
    assert_eq!(as_json["unavailable"].as_str(), told.trim_end().strip_prefix("unavailable: "));
    Ok(())
}

#[test]
fn verify_finds_damage_and_mends_it() -> Result<()> {
    let experiment = logged()?;
    let whole = experiment.text("metrics.jsonl");
    let (first, rest) = whole.split_once('\n').expect("lines");
    fs::write(experiment.path("metrics.jsonl"), format!("{first}\ngarbage\n{rest}"))?;

    let found = of("verify", &experiment);
    let as_json = of("verify --json", &experiment);
    let skipped = of("history", &experiment);
    let mended = of("verify --repair", &experiment);
    let again = of("verify", &experiment);

    let codes = [&found, &as_json, &skipped, &mended, &again].map(|output| output.status.code());
    assert_eq!(codes, [1, 1, 0, 0, 0].map(Some));
    let found = text(&found.stdout);
    let expected = format!(
        "damaged  metrics.jsonl  1 damaged line, 7 good ones\n  line 2, 8 bytes from byte {}: ",
        first.len() + 1
    );
    assert!(found.contains(&expected), "{found}");
    let reports: Value = serde_json::from_slice(&as_json.stdout)?;
    let damaged: Vec<_> = each(&reports)
        .flat_map(|report| each(&report["findings"]).map(|finding| (&report["file"], finding)))
        .map(|(file, finding)| (file, &finding["line"]))
        .collect();
    assert_eq!(damaged, [(&json!("metrics.jsonl"), &json!(2))]);
    let skipped = text(&skipped.stderr);
    assert!(skipped.starts_with("note: skipped metrics.jsonl line 2 ("), "{skipped}");
    assert!(text(&mended.stdout).contains("  moved to metrics.jsonl.torn\n"));
    assert!(!text(&again.stdout).contains("damaged"));
    assert_eq!(experiment.text("metrics.jsonl"), whole);
    assert_eq!(experiment.text("metrics.jsonl.torn"), "garbage\n");
    Ok(())
}

#[test]
fn a_run_that_is_being_logged_is_not_mended() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    run.metrics().log_step(1, NO_EPOCH, &fields! { loss: 0.5 })?;

    let folder = experiment.folder().display();
    assert_eq!(
        sentence(&of("verify --repair", &experiment)),
        format!("{folder}: the run is being logged; repair it when it has ended")
    );
    assert!(printed(&of("show", &experiment)).starts_with("tiny  running for "));
    Ok(())
}

/// Every command that reads a run folder.
const READERS: [&str; 12] = [
    "show",
    "show --json",
    "history",
    "history --json",
    "stats",
    "stats --json",
    "errors",
    "errors --json",
    "timings",
    "tail",
    "verify",
    "verify --json",
];

#[test]
fn a_folder_without_a_run_is_told_in_one_sentence() {
    let place = Workplace::new();
    place.write("file", "");
    for reader in READERS.into_iter().chain(["verify --repair", "tail --follow"]) {
        let told = |folder: &str| {
            let arguments: Vec<_> = reader.split(' ').chain([folder]).collect();
            sentence(&place.model_foundry(&arguments))
        };
        assert_eq!(told("nowhere"), "nowhere: there is no such run folder");
        assert_eq!(told("file"), "file: this is no folder");
        assert_eq!(told("."), ".: there is no run in this folder (no run.json)");
    }
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["show"],
        &["run", "--"],
        &["run", "python3", "train.py"],
        &["history", "--steps", "7..3", "."],
        &["history", "--steps", "..", "."],
        &["history", "--json", "--metric", "loss", "."],
        &["tail", "--file", "nonsense", "."],
        &["config", "default", "--format", "ini"],
    ] {
        let output = model_foundry(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stdout), "");
        let told = text(&output.stderr);
        assert!(told.contains("Usage: ") || told.contains("--help"), "{told}");
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
        assert!(!printed(&model_foundry(arguments)).is_empty());
    }
}

/// Run the program with its standard output a pipe that nobody reads any more: what it says on the other
/// stream, and its exit code.
fn with_closed_pipe(arguments: &[&str], input: &str) -> Result<(String, Option<i32>)> {
    let mut process = command(program())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(process.stdout.take());
    // A program that reads no input may have ended already.
    if let (false, Some(stdin)) = (input.is_empty(), &mut process.stdin) {
        stdin.write_all(input.as_bytes())?;
    }
    let output = process.wait_with_output()?;
    Ok((text(&output.stderr), output.status.code()))
}

#[test]
fn a_closed_pipe_is_success() -> Result<()> {
    let experiment = logged()?;
    let folder = experiment.folder().to_string_lossy();
    let others = ["gpu", "component inspect", "config default", "config schema", "--help"];
    let mut commands: Vec<Vec<&str>> = others.map(|words| words.split(' ').collect()).into();
    commands.extend(READERS.map(|words| words.split(' ').chain([&*folder]).collect()));

    for arguments in commands {
        assert_eq!(with_closed_pipe(&arguments, "")?, (String::new(), Some(0)), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn the_first_line_is_enough_for_whoever_reads() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let columns = run.metrics().columns(&["loss"])?;
    // More than a pipe holds.
    for step in 0..5_000 {
        columns.log(step, 0.0, &[0.5])?;
    }
    drop((columns, run));

    for reader in ["history", "history --json", "tail --file metrics -n 5000"] {
        let script = format!(
            "'{}' {reader} '{}' | head -n 1 | wc -l; echo ${{PIPESTATUS[0]}}",
            program().display(),
            experiment.folder().display()
        );
        let output = command("bash").args(["-c", &script]).output()?;
        assert_eq!(printed(&output).split_whitespace().collect::<Vec<_>>(), ["1", "0"], "{reader}");
    }
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
    // Each is said on the console too; once the program is gone, no more can be written.
    let written = (0..3).try_for_each(|_| stdin.write_all(b"{\"message\":\"saved\"}\n"));
    drop(stdin);

    assert_eq!(process.wait()?.code(), Some(0));
    written?;
    assert_eq!(place.text("main.log").lines().count(), 3);
    assert_eq!(place.attempts("status"), ["completed"]);
    Ok(())
}

/// What the program prints on a terminal of its own.
fn on_a_terminal(arguments: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    const SCRIPT: &str = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let output = command("python3")
        .args(["-c", SCRIPT])
        .arg(program())
        .args(arguments)
        .env("TERM", "xterm-256color")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()?;
    Ok(printed(&output))
}

#[test]
fn colours_are_for_terminals() -> Result<()> {
    let experiment = logged()?;
    let folder = experiment.folder().to_string_lossy();
    for reader in READERS {
        let output = of(reader, &experiment);
        assert!(!output.stdout.contains(&0x1b), "{reader}");
        assert!(!output.stderr.contains(&0x1b), "{reader}");
    }
    for reader in ["show", "errors", "stats", "timings", "verify"] {
        let coloured = on_a_terminal(&[reader, &folder], &[])?;
        assert!(coloured.contains("\u{1b}["), "{reader}: {coloured}");
        let plain = on_a_terminal(&[reader, &folder], &[("NO_COLOR", "1")])?;
        assert!(!plain.contains('\u{1b}'), "{reader}: {plain}");
    }
    Ok(())
}

/// Sets a terminal's title, by ESC ] and by the one character that means the same.
const STEERING: &str = "\u{1b}]0;owned\u{7}\u{9d}0;owned\u{7}";

/// Run the program with colours on, so that nothing is filtered out on the way to a pipe, and see that what
/// it prints steers nothing.
fn steered_by_nobody(arguments: &[&str], input: &str) -> Result<Output> {
    let mut process = command(program())
        .args(arguments)
        .env("CLICOLOR_FORCE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let (false, Some(stdin)) = (input.is_empty(), &mut process.stdin) {
        stdin.write_all(input.as_bytes())?;
    }
    let output = process.wait_with_output()?;
    for printed in [text(&output.stdout), text(&output.stderr)] {
        let steers = ["\u{1b}]", "\u{7}", "\u{9d}"].iter().any(|part| printed.contains(part));
        assert!(!steers, "{}: {printed:?}", arguments[0]);
    }
    Ok(output)
}

#[test]
fn what_was_logged_does_not_steer_the_terminal() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let field = [(STEERING.into(), STEERING.into())];
    run.metrics().log_step(1, NO_EPOCH, &[(STEERING.into(), 0.5.into())])?;
    run.metrics().log_step(2, NO_EPOCH, &[(STEERING.into(), f64::NAN.into())])?;
    run.metrics().log_step(3, NO_EPOCH, &fields! { text: STEERING })?;
    run.logger(STEERING).info(STEERING, &field)?;
    run.performance().record(STEERING, 0.5)?;
    for _ in 0..2 {
        run.errors().log(STEERING, STEERING, STEERING, &field)?;
    }
    drop(run);
    fs::write(experiment.path("console.log"), format!("{STEERING}\n"))?;
    let folder = experiment.folder().to_string_lossy();

    for reader in [
        "show",
        "history",
        "history --metric text",
        "stats",
        "errors",
        "timings",
        "tail",
        "tail --file metrics",
        "tail --file errors",
        "tail --file performance",
        "tail --file console",
    ] {
        let arguments: Vec<_> = reader.split(' ').chain([&*folder]).collect();
        let output = steered_by_nobody(&arguments, "")?;
        assert_eq!(output.status.code(), Some(0), "{reader}");
        assert!(text(&output.stdout).contains("owned"), "{reader} tells it");
    }
    Ok(())
}

#[test]
fn a_manifest_does_not_steer_the_terminal() -> Result<()> {
    let experiment = logged()?;
    let mut manifest: Value = serde_json::from_str(&experiment.text("run.json"))?;
    for name in ["experiment", "git_hash", "device"] {
        manifest[name] = json!(STEERING);
    }
    manifest["host"]["name"] = json!(STEERING);
    manifest["command"] = json!([STEERING]);
    manifest["attempts"][0]["start"] = json!(STEERING);
    manifest["attempts"][0]["storage_failures"] = json!(1);
    manifest["attempts"][0]["storage_error"] = json!(STEERING);
    fs::write(experiment.path("run.json"), manifest.to_string())?;

    let output = steered_by_nobody(&["show", &experiment.folder().to_string_lossy()], "")?;

    assert_eq!(output.status.code(), Some(0));
    Ok(())
}

#[test]
fn what_is_logged_does_not_steer_the_terminal() -> Result<()> {
    let place = Workplace::new();
    let folder = place.path("runs/tiny");
    let records = [
        json!({ "message": STEERING, "fields": { STEERING: STEERING } }),
        json!({ "message": "", "fields": { "text": format!("two words {STEERING}") } }),
        json!({ "message": "", STEERING: STEERING }),
        json!({ "level": STEERING, "message": "" }),
        json!({ "step": STEERING, "metrics": {} }),
        json!({ "step": 1, "metrics": STEERING }),
        json!({ STEERING: STEERING }),
    ];

    // One by one, so that each that fails is told by its record.
    for record in records {
        let arguments = ["log", "--dir", &folder.to_string_lossy()];
        steered_by_nobody(&arguments, &format!("{record}\n"))?;
    }
    Ok(())
}

#[test]
fn a_configuration_does_not_steer_the_terminal() -> Result<()> {
    let place = Workplace::new();
    let bad = json!({ STEERING: STEERING, "console_level": STEERING });
    place.write("bad.json", bad.to_string());
    let file = place.path("bad.json");
    let file = file.to_string_lossy();
    let runs = place.path("runs");
    let runs = runs.to_string_lossy();

    for arguments in [
        &["config", "check", &*file][..],
        &["log", "--config", &file, "--dir", &runs],
        &["run", "--config", &file, "--runs-dir", &runs, "--", "true"],
    ] {
        let output = steered_by_nobody(arguments, "")?;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
    Ok(())
}
