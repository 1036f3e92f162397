//! What all commands have in common: usage errors, folders without a run, and closed pipes.

use std::fs;
use std::process::Output;

use anyhow::Result;
use model_foundry_tests::{
    Experiment, Workplace, command, logged_experiment, model_foundry, model_foundry_on, printed,
    program, sentence, text, with_closed_pipe,
};

use crate::READERS;

#[test]
fn a_run_without_errors_and_timings_says_so() {
    let experiment = Experiment::new();
    drop(experiment.run());

    assert_eq!(
        printed(&model_foundry_on("errors", &experiment)),
        "no errors were logged in this run\n"
    );
    assert_eq!(
        printed(&model_foundry_on("timings", &experiment)),
        "no timings were recorded in this run\n"
    );
    assert!(
        printed(&model_foundry_on("show", &experiment)).ends_with("\nno metrics were logged\n")
    );
}

#[test]
fn a_folder_without_a_run_is_told_in_one_sentence() {
    let place = Workplace::new();
    place.write("file", "");
    for reader in READERS.into_iter().chain(["verify --repair", "tail --follow"]) {
        let refusal = |folder: &str| {
            let arguments: Vec<_> = reader.split(' ').chain([folder]).collect();
            sentence(&place.model_foundry(&arguments))
        };
        assert_eq!(refusal("nowhere"), "nowhere: no such run folder");
        assert_eq!(refusal("file"), "file: not a folder");
        assert_eq!(refusal("."), ".: no run in this folder (run.json is missing)");
    }
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["run"],
        &["run", "--"],
        &["history", "--steps", "7..3", "."],
        &["history", "--steps", "..", "."],
        &["history", "--json", "--csv", "."],
        &["tail", "--file", "nonsense", "."],
        &["config", "default", "--format", "ini"],
    ] {
        let output = model_foundry(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stdout), "");
        let error = text(&output.stderr);
        assert!(error.contains("Usage: ") || error.contains("--help"), "{error}");
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
        assert!(!printed(&model_foundry(arguments)).is_empty());
    }
}

#[test]
fn a_run_needs_no_name_where_there_is_one() -> Result<()> {
    let place = Workplace::new();
    let step = "echo 'step 1: loss 0.5'";
    let show = |words: &[&str], folder: &str| -> Result<Output> {
        let mut command = place.command(&[&["show"], words].concat());
        Ok(command.current_dir(place.path(folder)).output()?)
    };
    assert!(sentence(&show(&[], ".")?).starts_with("there is no run here: name a run folder"));
    place.run(&["--quiet"], step);
    for (words, folder) in
        [(&[][..], "."), (&[], "runs"), (&[], "runs/tiny"), (&["tiny"], "."), (&["runs/tiny"], ".")]
    {
        let page = printed(&show(words, folder)?);
        assert!(page.starts_with("tiny  completed"), "{words:?} in {folder}: {page}");
    }
    let stats = printed(&place.model_foundry(&["stats", "loss"]));
    assert!(stats.contains("loss"), "without a folder the words are metrics: {stats}");
    place.run(&["--quiet"], step);
    let error = sentence(&show(&[], ".")?);
    assert_eq!(error, "there are 2 runs here: name one of them, from the newest: tiny-2, tiny");
    Ok(())
}

#[test]
fn completions_and_manual_pages_are_of_the_same_arguments() -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&model_foundry(["completions", shell]));
        assert!(script.contains("durability") || script.contains("folder-mode"), "{shell}");
    }
    let place = Workplace::new();
    assert_eq!(printed(&place.model_foundry(&["man", "pages/man1"])), "");
    let page = fs::read_to_string(place.path("pages/man1/model-foundry-run.1"))?;
    assert!(page.contains("folder\\-mode"), "{page}");
    assert!(place.path("pages/man1/model-foundry.1").exists());
    Ok(())
}

#[test]
fn a_closed_pipe_is_success() -> Result<()> {
    let experiment = logged_experiment()?;
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
    // More than a pipe holds, so that the program meets the closed pipe.
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
