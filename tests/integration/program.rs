//! The program, as a shell sees it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::{command, eventually, model_foundry, model_foundry_fed, program, text};

/// A folder for runs.
struct Runs {
    folder: TempDir,
}

impl Runs {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder for the test") }
    }

    /// The run folder of the experiment that these tests are about.
    fn run(&self) -> PathBuf {
        self.folder.path().join("tiny")
    }

    /// `model-foundry run` of a shell script.
    fn watching(&self, script: &str) -> Command {
        let mut command = command(program());
        command
            .args(["run", "--experiment", "tiny", "--runs-dir"])
            .arg(self.folder.path())
            .args(["--", "sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn watch(&self, script: &str) -> Output {
        self.watching(script).output().expect("the program runs")
    }

    /// A run of ten steps with an error, a timing and a summary.
    fn logged() -> Self {
        let runs = Self::new();
        let mut input = String::new();
        for step in 1..=10 {
            input += &format!(
                "{{\"step\":{step},\"epoch\":0.5,\"metrics\":{{\"loss\":{}}}}}\n",
                1.0 / f64::from(step)
            );
        }
        input += "{\"epoch\":1,\"summary\":{\"val_loss\":0.25}}\n\
                  {\"level\":\"WARNING\",\"message\":\"a record\",\"fields\":{\"step\":3}}\n\
                  {\"error_type\":\"ValueError\",\"error_message\":\"no\",\"traceback\":\"line 1\",\"context\":{\"step\":7}}\n";
        let output = runs.log(&input);
        assert!(output.status.success(), "{}", text(&output.stderr));
        runs
    }

    /// `model-foundry log` of this input.
    fn log(&self, input: &str) -> Output {
        let folder = self.run();
        model_foundry_fed(
            ["log".as_ref(), "--json".as_ref(), "--dir".as_ref(), folder.as_os_str()],
            input,
        )
    }

    /// A command about the run, with further arguments.
    fn ask(&self, command: &str, arguments: &[&str]) -> Output {
        let folder = self.run();
        let all = [command.as_ref(), folder.as_os_str()];
        model_foundry(all.into_iter().chain(arguments.iter().map(AsRef::as_ref)))
    }

    /// What such a command prints as JSON.
    fn json(&self, command: &str, arguments: &[&str]) -> Value {
        let output = self.ask(command, &[&["--json"], arguments].concat());
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The lines of one of the run's files.
    fn records(&self, file: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.run().join(file)).expect("the file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn manifest(&self) -> Value {
        let text = std::fs::read_to_string(self.run().join("run.json")).expect("run.json");
        serde_json::from_str(&text).expect("JSON")
    }
}

/// It failed with this exit code and said one sentence.
fn failed(output: &Output, code: i32) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    said
}

#[test]
fn run_passes_output_through_and_keeps_it() -> Result<()> {
    let runs = Runs::new();

    let output = runs.watch("echo one; echo two >&2; printf 'three, unfinished'");

    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "one\nthree, unfinished");
    assert!(text(&output.stderr).starts_with("two\n"), "{}", text(&output.stderr));
    let kept = std::fs::read_to_string(runs.run().join("console.log"))?;
    let mut lines: Vec<_> = kept.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "three, unfinished", "two"]);
    let manifest = runs.manifest();
    assert_eq!(manifest["command"][0], "sh");
    assert_eq!(
        (&manifest["attempts"][0]["status"], &manifest["attempts"][0]["exit_code"]),
        (&json!("completed"), &json!(0))
    );
    // What it adds goes to standard error, and not at all if that is not wanted.
    assert!(text(&output.stderr).contains("completed"));
    let mut quiet = command(program());
    quiet.args(["run", "--quiet", "--runs-dir"]).arg(runs.folder.path());
    let output = quiet.args(["--experiment", "tiny", "--", "sh", "-c", "echo two >&2"]).output()?;
    assert_eq!(text(&output.stderr), "two\n");
    Ok(())
}

#[test]
fn run_passes_bytes_that_are_no_text_through() -> Result<()> {
    let runs = Runs::new();
    let output = runs.watch("printf 'caf\\351 \\377\\n'; head -c 300000 /dev/zero");
    assert_eq!(output.stdout.len(), 7 + 300_000);
    assert_eq!(output.stdout[..7], *b"caf\xe9 \xff\n");
    Ok(())
}

#[test]
fn run_logs_the_metrics_that_are_printed() -> Result<()> {
    let runs = Runs::new();

    let output = runs.watch(
        "echo 'step 1: loss 0.5, lr 1e-3'; echo '{\"step\": 2, \"loss\": 0.25}'; \
         echo \"{'loss': 0.125, 'epoch': 0.5, 'step': 3}\"; echo 'saved to disk'; \
         printf 'Traceback (most recent call last):\\n  File \"t.py\", line 1, in <module>\\n\
                 ValueError: no\\n' >&2; exit 3",
    );

    assert_eq!(output.status.code(), Some(3), "the command's own");
    let losses: Vec<_> = runs
        .records("metrics.jsonl")
        .iter()
        .map(|record| (record["step"].clone(), record["metrics"]["loss"].clone()))
        .collect();
    assert_eq!(losses, [(1, 0.5), (2, 0.25), (3, 0.125)].map(|(s, l)| (json!(s), json!(l))));
    let errors = runs.records("errors.jsonl");
    assert_eq!(
        (&errors[0]["error_type"], &errors[0]["error_message"]),
        (&json!("ValueError"), &json!("no"))
    );
    let attempt = &runs.manifest()["attempts"][0];
    assert_eq!((&attempt["status"], &attempt["exit_code"]), (&json!("failed"), &json!(3)));
    Ok(())
}

#[test]
fn run_tells_the_command_its_folder_and_what_it_gave() -> Result<()> {
    let runs = Runs::new();
    let script = format!(
        "echo \"$MODEL_FOUNDRY_RUN_DIR\"; cat; \
         echo '{{\"step\":1,\"metrics\":{{\"loss\":0.5}}}}' | '{}' log --dir \"$MODEL_FOUNDRY_RUN_DIR\"; \
         exit 7",
        program().display()
    );
    let mut process = runs.watching(&script).stdin(Stdio::piped()).spawn()?;
    process.stdin.take().expect("standard input").write_all(b"given\n")?;
    let output = process.wait_with_output()?;

    assert_eq!(output.status.code(), Some(7));
    let said = text(&output.stdout);
    let mut lines = said.lines();
    let told = lines.next().unwrap_or_default();
    assert!(Path::new(told).is_absolute());
    assert_eq!(Path::new(told).canonicalize()?, runs.run().canonicalize()?);
    assert_eq!(lines.next(), Some("given"));
    // What the command logs there is part of the same attempt.
    assert_eq!(runs.records("metrics.jsonl").len(), 1);
    assert_eq!(runs.manifest()["attempts"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[test]
fn run_passes_signals_on() -> Result<()> {
    // One command ends by the signal, the other by itself when it is told.
    let scripts = [
        ("echo ready; exec sleep 60", 143),
        ("trap 'echo saved; exit 5' TERM; echo ready; while :; do sleep 0.05; done", 5),
    ];
    for (script, code) in scripts {
        let runs = Runs::new();
        let mut process = runs.watching(script).spawn()?;
        let mut output = BufReader::new(process.stdout.take().expect("standard output"));
        let mut line = String::new();
        output.read_line(&mut line)?;
        assert_eq!(line, "ready\n");

        let pid = Pid::from_raw(process.id().try_into()?).expect("a process id");
        kill_process(pid, Signal::TERM)?;

        let mut rest = String::new();
        output.read_to_string(&mut rest)?;
        let status = process.wait()?;
        assert_eq!(status.code(), Some(code), "{status}, signal {:?}", status.signal());
        let attempt = &runs.manifest()["attempts"][0];
        assert_eq!(attempt["exit_code"], code);
        if code == 143 {
            assert_eq!(attempt["status"], "interrupted");
        } else {
            assert_eq!((rest.as_str(), &attempt["status"]), ("saved\n", &json!("failed")));
        }
    }
    Ok(())
}

#[test]
fn a_second_run_is_a_second_attempt() -> Result<()> {
    let runs = Runs::new();
    runs.watch("for i in 1 2 3; do echo \"step $i: loss 0.5\"; done; exit 1");
    runs.watch("for i in 3 4; do echo \"step $i: loss 0.25\"; done");

    let shown = runs.json("show", &[]);
    let attempts = shown["run"]["attempts"].as_array().cloned().unwrap_or_default();
    let statuses: Vec<_> = attempts.iter().map(|attempt| &attempt["status"]).collect();
    assert_eq!(statuses, ["failed", "completed"]);
    assert_eq!(runs.records("metrics.jsonl").len(), 5, "appended");
    let loss = &shown["metrics"][0];
    assert_eq!((&loss["name"], &loss["statistics"]["count"]), (&json!("loss"), &json!(4)));
    assert!(text(&runs.ask("show", &[]).stdout).contains("attempt 2"));
    Ok(())
}

#[test]
fn a_command_that_is_not_there_leaves_nothing_behind() {
    let runs = Runs::new();
    let runs_dir = runs.folder.path().join("runs");
    let arguments = |name: &str| {
        let dir = runs_dir.as_os_str().to_owned();
        let words = ["run", "--runs-dir"].map(Into::into).into_iter();
        words.chain([dir, "--".into(), name.into()]).collect::<Vec<std::ffi::OsString>>()
    };
    let said = failed(&model_foundry(arguments("no-such-trainer")), 1);
    assert!(said.contains("no-such-trainer: there is no such program"), "{said}");
    assert!(!runs_dir.exists());
}

#[test]
fn log_keeps_good_lines_and_tells_bad_ones() -> Result<()> {
    let runs = Runs::new();

    let output = runs.log(
        "{\"step\":1,\"epoch\":0,\"metrics\":{\"loss\":0.5,\"lr\":NaN}}\n\
         no JSON\n\
         \n\
         {\"metrics\":{\"loss\":0.5}}\n\
         {\"epoch\":0,\"summary\":{\"val_loss\":0.4}}\n\
         {\"level\":\"loud\",\"message\":\"x\"}\n\
         {\"level\":\"info\",\"message\":\"saved\",\"fields\":{\"step\":1}}\n\
         {\"step\":2,\"metrics\":{},\"spare\":1}\n\
         {\"error_type\":\"ValueError\",\"error_message\":\"no\"}",
    );

    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    let numbers: Vec<_> = told
        .lines()
        .filter_map(|line| line.strip_prefix("line ")?.split_once(':'))
        .map(|(number, _)| number)
        .collect();
    assert_eq!(numbers, ["2", "4", "6", "8"], "{told}");
    let counts: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((&counts["logged"], &counts["bad_lines"]), (&json!(4), &json!(4)));
    let metrics = runs.records("metrics.jsonl");
    assert_eq!(metrics[0]["non_finite"], json!({ "lr": "NaN" }));
    assert_eq!(metrics[1]["summary"], json!({ "val_loss": 0.4 }));
    assert_eq!(runs.records("main.log")[0]["message"], "saved");
    assert_eq!(runs.records("errors.jsonl")[0]["error_type"], "ValueError");
    assert_eq!(runs.manifest()["attempts"][0]["status"], "failed");
    let good = runs.log("{\"step\":3,\"metrics\":{\"loss\":0.5}}\n");
    assert!(good.status.success() && good.stderr.is_empty());
    Ok(())
}

#[test]
fn log_writes_each_record_at_once() -> Result<()> {
    let runs = Runs::new();
    let folder = runs.run();
    let mut process =
        command(program()).args(["log", "--dir"]).arg(&folder).stdin(Stdio::piped()).spawn()?;
    let mut stdin = process.stdin.take().expect("standard input");
    for step in 0..3_usize {
        writeln!(stdin, "{{\"step\":{step},\"metrics\":{{\"loss\":0.5}}}}")?;
        eventually("the step", || {
            let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
            text.lines().count() == step + 1
        });
    }
    drop(stdin);
    assert!(process.wait()?.success());
    Ok(())
}

#[test]
fn show_stats_history_errors_and_timings_answer_in_json() -> Result<()> {
    let runs = Runs::logged();

    let shown = runs.json("show", &[]);
    assert_eq!(shown["run"]["attempts"][0]["status"], "completed");
    assert_eq!(shown["metrics"][0]["statistics"]["count"], 10);
    assert_eq!(
        (&shown["errors"]["counts"][0]["error_type"], &shown["damaged_lines"]),
        (&json!("ValueError"), &json!(0))
    );
    let stats = runs.json("stats", &["loss", "--steps", "2..4"]);
    assert_eq!(stats[0]["statistics"]["count"], 3);
    assert_eq!(stats[0]["statistics"]["max"], 0.5);
    let errors = runs.json("errors", &["-n", "1"]);
    assert_eq!(errors["first"]["error_message"], "no");
    assert_eq!(runs.json("timings", &[]), json!([]));
    runs.watch("sleep 0.6");
    assert_eq!(runs.json("show", &[])["memory"]["samples"], 1, "`run` sampled memory");
    Ok(())
}

#[test]
fn history_includes_both_ends() {
    let runs = Runs::logged();
    let steps = |arguments: &[&str]| -> Vec<u64> {
        let output = runs.ask("history", &[&["--json"], arguments].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let entries = text(&output.stdout);
        let entries =
            entries.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        entries.filter_map(|entry| entry["step"].as_u64()).collect()
    };
    assert_eq!(steps(&["--steps", "3..6"]), [3, 4, 5, 6]);
    assert_eq!(steps(&["--steps", "9.."]), [9, 10]);
    assert_eq!(steps(&["--steps", "..2"]), [1, 2]);
    assert_eq!(steps(&["--steps", "5"]), [5]);
    assert_eq!(steps(&["--steps", "11..20"]), [0; 0]);
    assert_eq!(steps(&[]).len(), 10);
    let table = text(&runs.ask("history", &["--steps", "3..4", "--metric", "loss"]).stdout);
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows,
        [vec!["step", "epoch", "loss"], vec!["3", "0.5", "0.33333"], vec!["4", "0.5", "0.25"]]
    );
    let summaries = text(&runs.ask("history", &["--json"]).stdout);
    assert_eq!(summaries.lines().count(), 11, "with the summary");
}

#[test]
fn tail_shows_the_end_and_follows_over_a_rotation() -> Result<()> {
    let runs = Runs::logged();
    let last = text(&runs.ask("tail", &["--file", "metrics", "-n", "2", "--json"]).stdout);
    let lines: Vec<Value> = last.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!((lines.len(), &lines[0]["step"]), (2, &json!(10)));

    let folder = runs.run();
    let mut process = command(program())
        .args(["tail", "--follow", "-n", "1"])
        .arg(&folder)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(process.stdout.take().expect("standard output")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().contains("a record"));
    runs.log("{\"message\":\"two\"}\n");
    assert!(next().contains("two"));
    std::fs::rename(folder.join("main.log"), folder.join("main.log.1"))?;
    runs.log("{\"message\":\"three\"}\n");
    assert!(next().contains("three"));
    process.kill()?;
    process.wait()?;
    Ok(())
}

#[test]
fn config_check_says_what_is_wrong_and_what_is_right() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let check = |name: &str, content: &str, json: bool| {
        let file = folder.path().join(name);
        std::fs::write(&file, content).expect("a configuration");
        let words = ["config".as_ref(), "check".as_ref(), file.as_os_str()];
        model_foundry(words.into_iter().chain(json.then_some("--json".as_ref())))
    };

    let good = check("good.toml", "console_level = \"WARNING\"\n", false);
    assert!(good.status.success());
    assert!(text(&good.stdout).contains("console_level = \"WARNING\""));
    let whole = check("good.json", "{\"model\":{\"d\":8},\"logging\":{\"max_log_files\":3}}", true);
    let whole: Value = serde_json::from_slice(&whole.stdout)?;
    assert_eq!((&whole["model"]["d"], &whole["logging"]["max_log_files"]), (&json!(8), &json!(3)));
    let bad = check("bad.yaml", "max_log_files: 0\nconsole_levle: INFO\n", false);
    assert_eq!(bad.status.code(), Some(1));
    let said = text(&bad.stdout);
    assert!(said.contains("max_log_files = 0") && said.contains("console_level"), "{said}");
    let bad = check("bad.toml", "max_log_files = 0\nfile_level = \"LOUD\"\n", true);
    let bad: Value = serde_json::from_slice(&bad.stdout)?;
    assert_eq!(bad["violations"].as_array().map(Vec::len), Some(2));
    let said = failed(&model_foundry(["config", "check", "/nonexistent/x.toml"]), 1);
    assert!(said.contains("there is no such file"), "{said}");
    // What is printed as the default is good.
    let default = text(&model_foundry(["config", "default"]).stdout);
    assert!(check("default.toml", &default, false).status.success());
    let schema: Value = serde_json::from_slice(&model_foundry(["config", "schema"]).stdout)?;
    assert!(schema["properties"]["durability"].is_object());
    Ok(())
}

#[test]
fn component_inspect_lists_the_component_s_powers() -> Result<()> {
    let output = model_foundry(["component", "inspect", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let names = |member: &str| -> Vec<String> {
        let items = report[member].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
    };
    for import in names("imports") {
        let known = ["wasi:clocks/", "model-foundry:logging/"];
        assert!(known.iter().any(|prefix| import.starts_with(prefix)), "{import}");
    }
    assert!(names("exports").iter().any(|name| name.contains("/metrics@")));
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("text.wasm");
    std::fs::write(&file, "no component")?;
    let said =
        failed(&model_foundry(["component".as_ref(), "inspect".as_ref(), file.as_os_str()]), 1);
    assert!(said.contains("this is not WebAssembly"), "{said}");
    Ok(())
}

#[test]
fn gpu_says_why_there_is_none() -> Result<()> {
    let output = model_foundry(["gpu", "--json"]);
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(report["devices"], json!([]));
    assert!(report["unavailable"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert!(text(&model_foundry(["gpu"]).stdout).starts_with("unavailable: "));
    Ok(())
}

#[test]
fn verify_finds_damage_and_mends_it() -> Result<()> {
    let runs = Runs::logged();
    assert!(runs.ask("verify", &[]).status.success());
    let path = runs.run().join("metrics.jsonl");
    let good = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("torn\n{good}"))?;

    let output = runs.ask("verify", &[]);
    assert_eq!(output.status.code(), Some(1), "damage is an answer");
    let said = text(&output.stdout);
    assert!(
        said.contains("damaged  metrics.jsonl") && said.contains("line 1, 5 bytes from byte 0"),
        "{said}"
    );
    let noted = text(&runs.ask("stats", &[]).stderr);
    assert!(noted.contains("skipped metrics.jsonl line 1"), "{noted}");
    let mended = runs.ask("verify", &["--repair", "--json"]);
    assert!(mended.status.success());
    let mended: Value = serde_json::from_slice(&mended.stdout)?;
    let metrics = mended
        .as_array()
        .and_then(|files| files.iter().find(|file| file["file"] == "metrics.jsonl"));
    assert_eq!(metrics.map(|file| &file["findings"][0]["offset"]), Some(&json!(0)));
    assert_eq!(std::fs::read_to_string(&path)?, good);
    assert!(runs.ask("verify", &[]).status.success());
    Ok(())
}

#[test]
fn a_closed_pipe_is_a_success() -> Result<()> {
    let runs = Runs::new();
    let steps =
        (0..20_000).map(|step| format!("{{\"step\":{step},\"metrics\":{{\"loss\":0.5}}}}\n"));
    assert!(runs.log(&steps.collect::<String>()).status.success());
    for (question, lines) in
        [("history", 1), ("history --json", 1), ("tail -n 20000 --file metrics", 3)]
    {
        let script = format!(
            "'{}' {question} '{}' | head -n {lines}; echo ${{PIPESTATUS[0]}}",
            program().display(),
            runs.run().display()
        );
        let output = command("bash").args(["-c", &script]).output()?;
        let said = text(&output.stdout);
        assert_eq!(said.lines().last(), Some("0"), "{question}: {}", text(&output.stderr));
        assert_eq!(said.lines().count(), lines + 1);
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
    Ok(())
}

#[test]
fn a_command_whose_reader_has_gone_is_trained_to_its_end() -> Result<()> {
    let runs = Runs::new();
    let mut process = runs
        .watching("for i in 1 2 3; do echo \"step $i: loss 0.5\"; sleep 0.1; done; exit 4")
        .spawn()?;
    drop(process.stdout.take());
    drop(process.stderr.take());
    assert_eq!(process.wait()?.code(), Some(4));
    assert_eq!(runs.records("metrics.jsonl").len(), 3);
    Ok(())
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    for arguments in [
        &["histroy", "x"][..],
        &["history"],
        &["history", "x", "--steps", "7..3"],
        &["history", "x", "--steps", "a..b"],
        &["run"],
        &["tail", "x", "--file", "none"],
        &["log"],
        &["show", "x", "--no-such-option"],
    ] {
        let output = model_foundry(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [["--help"], ["--version"]] {
        let output = model_foundry(arguments);
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_missing_folder_is_one_clear_sentence() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for name in ["show", "history", "stats", "errors", "timings", "tail", "verify"] {
        let missing = folder.path().join("missing");
        let said = failed(&model_foundry([name.as_ref(), missing.as_os_str()]), 1);
        assert_eq!(said, format!("error: {}: there is no such run folder\n", missing.display()));
        let said = failed(&model_foundry([name.as_ref(), folder.path().as_os_str()]), 1);
        assert!(
            said.contains("there is no run in this folder") && said.lines().count() == 1,
            "{said}"
        );
    }
    assert!(!folder.path().join("missing").exists());
    Ok(())
}

#[test]
fn colours_are_for_terminals() -> Result<()> {
    let runs = Runs::logged();
    let folder = runs.run();
    let printed = |name: &str, variables: &[(&str, &str)]| {
        let mut command = command(program());
        let output = command.arg(name).arg(&folder).envs(variables.iter().copied()).output();
        let output = output.expect("the program runs");
        [output.stdout, output.stderr].concat()
    };
    for name in ["show", "stats", "history", "errors", "timings", "tail", "verify"] {
        assert!(!printed(name, &[]).contains(&0x1b), "{name} in a pipe");
    }
    assert!(printed("show", &[("CLICOLOR_FORCE", "1")]).contains(&0x1b), "asked for");
    assert!(!printed("show", &[("NO_COLOR", "1"), ("TERM", "xterm")]).contains(&0x1b));
    // A terminal is not steered by what was logged.
    runs.log("{\"step\":1,\"metrics\":{\"a\\u001b[31m\":1}}\n{\"message\":\"\\u001b[2J\"}\n");
    for name in ["show", "stats", "history", "tail"] {
        assert!(!printed(name, &[]).contains(&0x1b), "{name}");
    }
    Ok(())
}

#[test]
fn the_page_tells_a_run_that_is_under_way_from_one_that_died() -> Result<()> {
    let runs = Runs::new();
    let mut process = runs.watching("echo 'step 1: loss 0.5'; exec sleep 60").spawn()?;
    let run = runs.run();
    eventually("a step", || {
        std::fs::read_to_string(run.join("metrics.jsonl")).is_ok_and(|text| !text.is_empty())
    });

    assert_eq!(runs.json("show", &[])["run"]["attempts"][0]["status"], "running");
    process.kill()?;
    process.wait()?;
    let status = || runs.json("show", &[])["run"]["attempts"][0]["status"].clone();
    eventually("the run has died", || {
        std::thread::sleep(Duration::from_millis(20));
        status() == "died"
    });
    Ok(())
}
