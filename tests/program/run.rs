//! `model-foundry run`: start a command, pass its output through, and log what it prints.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use anyhow::Result;
use model_foundry_tests::{Workplace, printed, text};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Output in the formats of nanoGPT, JSON Lines, Megatron and `name=value`.
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
    // Every byte value and a terminal's control sequence, without a newline at the end.
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at * 7 % 256) as u8).collect();
    let others: Vec<u8> = bytes.iter().rev().copied().chain(*b"progress 50%\r\x1b[2K").collect();
    place.write("out", &bytes);
    place.write("err", &others);

    let output = place.run(&["--quiet"], "cat out; cat err >&2");

    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == bytes, "standard output is unchanged");
    assert!(output.stderr == others, "standard error is unchanged, with nothing added");
}

#[test]
fn run_passes_bytes_that_are_no_text_through() {
    let place = Workplace::new();
    let output = place.run(&[], "printf 'caf\\351 \\377\\n'; head -c 300000 /dev/zero");
    assert_eq!(output.stdout.len(), 7 + 300_000);
    assert_eq!(output.stdout[..7], *b"caf\xe9 \xff\n");
}

#[test]
fn a_command_whose_reader_has_gone_is_trained_to_its_end() -> Result<()> {
    let place = Workplace::new();
    let script = "for i in 1 2 3; do echo \"step $i: loss 0.5\"; sleep 0.1; done; exit 4";
    let mut process = place
        .command(&["run", "--experiment", "tiny", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop((process.stdout.take(), process.stderr.take()));
    assert_eq!(process.wait()?.code(), Some(4));
    assert_eq!(place.text("metrics.jsonl").lines().count(), 3);
    Ok(())
}

#[test]
fn run_keeps_the_exit_code() {
    let place = Workplace::new();
    let cases = [
        ("exit 0", 0, "completed"),
        ("exit 3", 3, "failed"),
        ("exit 255", 255, "failed"),
        ("kill -TERM $$", 143, "interrupted"),
        ("kill -KILL $$", 137, "killed"),
        ("kill -INT $$", 130, "interrupted"),
    ];
    for (script, code, status) in cases {
        let output = place.run(&["--quiet", "--resume"], script);

        assert_eq!(output.status.code(), Some(code), "{script}");
        assert_eq!(place.attempts("exit_code").last(), Some(&json!(code)));
        assert_eq!(place.attempts("status").last(), Some(&json!(status)), "{script}");
    }
    assert_eq!(place.attempts("attempt").len(), cases.len());
    let signals: Vec<_> = place.attempts("signal").split_off(3);
    assert_eq!(signals, ["SIGTERM", "SIGKILL", "SIGINT"]);
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

        // Only to the program, not to its process group.
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
    // Hugging Face's trainer prints no steps: they are counted, across attempts too.
    place.write("out", "{'loss': 0.25, 'epoch': 0.5}\n{'loss': 0.125, 'epoch': 1.0}\n");

    place.run(&["--quiet"], "cat out");
    place.run(&["--quiet", "--resume"], "cat out");

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

    let folder = text(&output.stdout);
    assert!(Path::new(&folder).is_absolute(), "{folder}");
    assert_eq!(fs::canonicalize(folder)?, fs::canonicalize(place.path("runs/tiny"))?);
    Ok(())
}

/// The page of a run without what differs from run to run: its duration, its time and host, its commit, and its
/// memory.
fn redacted(page: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in page.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if line.starts_with("memory peak") {
            // Only a run of half a second or longer has a sample.
            lines.pop();
        } else if let Some((_, rest)) = line.split_once(" UTC · ") {
            let rest: Vec<_> = rest.splitn(4, " · ").collect();
            lines.push(format!("[time] · [host] · {} · [commit] · {}", rest[1], rest[3]));
        } else if let Some(at) = words.iter().position(|word| matches!(*word, "in" | "after")) {
            lines.push([&words[..=at], &["[duration]"], &words[at + 3..]].concat().join(" "));
        } else if line.starts_with("  first, ") {
            let (_, error) = line.split_at("  first, 2025-01-02 03:04:05: ".len());
            lines.push(format!("  first, [time]: {error}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

#[test]
fn run_ends_with_the_page() {
    let place = Workplace::new();
    place.write("out", OUTPUT);
    place.write("err", TRACEBACK);

    let output = place.run(&[], "cat out; cat err >&2; exit 1");

    assert_eq!(text(&output.stdout), OUTPUT, "standard output is only the command's");
    let errors = text(&output.stderr);
    let page = errors.strip_prefix(TRACEBACK).and_then(|rest| rest.strip_prefix('\n'));
    let page = page.unwrap_or_else(|| panic!("{errors}"));
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
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert_eq!(error, format!("error: {expected}\n"));
        assert!(!place.path("runs").exists(), "{options:?} {program}: a folder was created");
    };

    refused(&["--config", "nowhere.toml"], "true", "nowhere.toml: no such file");
    refused(
        &["--config", "config.ini"],
        "true",
        "config.ini: the name of a configuration must end in .json, .toml, .yaml or .yml",
    );
    refused(
        &["--config", "bad.toml"],
        "true",
        "bad.toml breaks a rule:\n  \
         max_log_files = 0: must be a positive integer (at most 4294967295)",
    );
    for name in ["a/b", "..", ".hidden", "", &"x".repeat(201)] {
        let expected = format!(
            "the experiment name {name:?} cannot name a folder: use 1 to 200 bytes, no slashes, \
             no leading dot"
        );
        refused(&["--experiment", name], "true", &expected);
    }
}

#[test]
fn what_is_no_program_leaves_nothing_behind() {
    let place = Workplace::new();
    place.write("not-executable", "#!/bin/sh\n");
    // The exit codes are those of a shell.
    for (program, code) in [
        ("no-such-program", 127),
        ("./no-such-program", 127),
        ("./not-executable", 126),
        ("/", 126),
    ] {
        let output = place.model_foundry(&["run", "--experiment", "tiny", "--", program]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.starts_with(&format!("error: {program}: ")), "{error}");
        assert!(!place.path("runs").exists(), "{program}: a folder was created");
    }
}

#[test]
fn the_command_needs_no_dashes_before_it() -> Result<()> {
    let place = Workplace::new();
    let run = |words: &[&str]| {
        let output = place.model_foundry(&[&["run", "--quiet"], words].concat());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(run(&["echo", "--resume", "-n", "--", "--json"]), "--resume -n -- --json\n");
    // The command's own options are not those of `run`.
    assert_eq!(run(&["--experiment", "echo", "echo", "--experiment", "x"]), "--experiment x\n");
    // After `--resume` comes a run, or the command.
    for words in [&["--resume", "echo", "2"][..], &["--resume", "echo", "echo", "2"]] {
        assert_eq!(run(words), "2\n", "{words:?}");
    }
    assert_eq!(run(&["--resume", "--", "echo", "3"]), "3\n");
    let folders = fs::read_dir(place.path("runs"))?.count();
    assert_eq!(folders, 2, "echo, echo-2");
    Ok(())
}

#[test]
fn the_first_start_says_that_it_compiles() -> Result<()> {
    let place = Workplace::new();
    let start = |options: &[&str]| {
        let mut command = place.command(&[&["run"], options, &["true"]].concat());
        let output = command.env("XDG_CACHE_HOME", place.path("cache")).output()?;
        anyhow::Ok(text(&output.stderr))
    };
    let compiles = "compiling the component, once for this version of model-foundry";
    assert!(start(&[])?.contains(compiles));
    assert!(!start(&[])?.contains(compiles), "it is cached");
    fs::remove_dir_all(place.path("cache"))?;
    assert_eq!(start(&["--quiet"])?, "");
    Ok(())
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
    assert!(losses[3].1 < losses[0].1, "the loss falls: {losses:?}");
    assert!(
        folder.join("checkpoints").is_dir(),
        "the trainer finds the run folder in its environment"
    );
    let console = fs::read_to_string(folder.join("console.log"))?;
    assert_eq!(console, text(&output.stdout), "the trainer prints only to standard output");
    Ok(())
}
