//! What the program prints on a terminal: colors, and never a control sequence from logged text.

use std::fs;
use std::process::{Output, Stdio};

use anyhow::Result;
use model_foundry::{Field, fields};
use model_foundry_tests::{
    Experiment, NO_EPOCH, Workplace, command, fed, logged_experiment, model_foundry_on, printed,
    program, text,
};
use serde_json::json;

use crate::READERS;

/// What the program prints on a terminal.
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
fn colors_are_for_terminals() -> Result<()> {
    let experiment = logged_experiment()?;
    let folder = experiment.folder().to_string_lossy();
    for reader in READERS {
        let output = model_foundry_on(reader, &experiment);
        assert!(!output.stdout.contains(&0x1b), "{reader}");
        assert!(!output.stderr.contains(&0x1b), "{reader}");
    }
    for reader in ["show", "errors", "stats", "timings", "verify"] {
        let colored = on_a_terminal(&[reader, &folder], &[])?;
        assert!(colored.contains("\u{1b}["), "{reader}: {colored}");
        let plain = on_a_terminal(&[reader, &folder], &[("NO_COLOR", "1")])?;
        assert!(!plain.contains('\u{1b}'), "{reader}: {plain}");
    }
    Ok(())
}

/// Sets a terminal's title in both forms: with ESC ] and with its one-character equivalent, U+009D. Then it begins a
/// line, and reverses the direction of text.
const STEERING: &str = "\u{1b}]0;owned\u{7}\u{9d}0;owned\u{7}\nFORGED: line\u{202e}\u{2066}";

/// Run the program and check that its output steers no terminal. Colors are forced, since without them the
/// program strips every control sequence from what it prints into a pipe.
fn harmless(arguments: &[&str], input: &str) -> Output {
    let mut command = command(program());
    command.args(arguments).env("CLICOLOR_FORCE", "1");
    let output = fed(command, input);
    for printed in [text(&output.stdout), text(&output.stderr)] {
        let mut rest = &*printed;
        while let Some(at) = rest.find(|c: char| {
            (c.is_control() && !"\n\t".contains(c))
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        }) {
            // A color of our own: ESC [ digits m.
            let color = rest[at..].strip_prefix("\u{1b}[");
            let color = color.map(|color| color.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
            let Some(after) = color.and_then(|color| color.strip_prefix('m')) else {
                panic!("{}: {printed:?}", arguments[0]);
            };
            rest = after;
        }
        // The lines of a file are its own.
        let forged =
            arguments[0] != "tail" && printed.lines().any(|line| line.starts_with("FORGED"));
        assert!(!forged, "{}: {printed:?}", arguments[0]);
    }
    output
}

#[test]
fn what_was_logged_does_not_steer_the_terminal() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let field = [Field::new(STEERING, STEERING)];
    run.metrics().log_step(1, NO_EPOCH, &[Field::new(STEERING, 0.5)])?;
    run.metrics().log_step(2, NO_EPOCH, &[Field::new(STEERING, f64::NAN)])?;
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
        let output = harmless(&arguments, "");
        assert_eq!(output.status.code(), Some(0), "{reader}");
        assert!(text(&output.stdout).contains("owned"), "{reader} shows the text");
    }
    Ok(())
}

#[test]
fn a_manifest_does_not_steer_the_terminal() -> Result<()> {
    let experiment = logged_experiment()?;
    let mut manifest = experiment.json("run.json");
    for name in ["experiment", "git_hash", "device"] {
        manifest[name] = json!(STEERING);
    }
    manifest["host"]["name"] = json!(STEERING);
    manifest["command"] = json!([STEERING]);
    manifest["attempts"][0]["start"] = json!(STEERING);
    manifest["attempts"][0]["storage_failures"] = json!(1);
    manifest["attempts"][0]["storage_error"] = json!(STEERING);
    fs::write(experiment.path("run.json"), manifest.to_string())?;

    let output = harmless(&["show", &experiment.folder().to_string_lossy()], "");

    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("owned"), "the text is shown");
    Ok(())
}

#[test]
fn what_is_logged_does_not_steer_the_terminal() {
    let place = Workplace::new();
    let folder = place.path("runs/tiny");
    let records = [
        (json!({ "message": STEERING, "fields": { STEERING: STEERING } }), "owned"),
        (json!({ "message": "", "fields": { "text": format!("two words {STEERING}") } }), "owned"),
        (json!({ "message": "", STEERING: STEERING }), "owned"),
        (json!({ "level": STEERING, "message": "" }), "owned"),
        (json!({ "step": STEERING, "metrics": {} }), "owned"),
        (json!({ "step": 1, "metrics": STEERING }), "owned"),
        // The error lists what a record may have, not what this one has.
        (json!({ STEERING: STEERING }), "line 1:"),
    ];

    // A process for each, so that a failure names its record.
    for (record, expected) in records {
        let arguments = ["log", "--dir", &folder.to_string_lossy()];
        let output = harmless(&arguments, &format!("{record}\n"));
        let console = text(&output.stderr);
        assert!(console.contains(expected), "{record} is shown: {console:?}");
    }
}

#[test]
fn a_folder_s_name_does_not_steer_the_terminal() -> Result<()> {
    let experiment = logged_experiment()?;
    let place = tempfile::tempdir()?;
    let folder = place.path().join(STEERING.replace('/', " "));
    fs::create_dir(&folder)?;
    for file in ["run.json", "metrics.jsonl", "main.log", "errors.jsonl", "performance.jsonl"] {
        fs::copy(experiment.path(file), folder.join(file))?;
    }
    // A damaged line makes every reader name the folder.
    let text = fs::read_to_string(folder.join("metrics.jsonl"))?;
    fs::write(folder.join("metrics.jsonl"), format!("{{\n{text}"))?;
    let folder = folder.to_string_lossy();
    for reader in READERS.iter().copied().chain(["show --json", "stats --json", "verify --json"]) {
        let mut arguments: Vec<&str> = reader.split(' ').collect();
        arguments.push(&folder);
        harmless(&arguments, "");
    }
    let missing = format!("{folder}/missing");
    for reader in READERS {
        let mut arguments: Vec<&str> = reader.split(' ').collect();
        arguments.push(&missing);
        harmless(&arguments, "");
    }
    harmless(&["run", "--quiet", "--runs-dir", &missing, "--experiment", "x", "--", "true"], "");
    harmless(&["run", "--resume", STEERING, "--runs-dir", &missing, "--", "true"], "");
    harmless(&["run", "--runs-dir", &missing, "--", STEERING], "");
    Ok(())
}

#[test]
fn a_configuration_does_not_steer_the_terminal() {
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
        let output = harmless(arguments, "");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let shown = text(&output.stdout) + &text(&output.stderr);
        assert!(shown.contains("owned"), "{arguments:?} shows the text: {shown:?}");
    }
}
