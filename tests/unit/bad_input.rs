//! Names, folders and files that cannot be used: each error is one sentence, and nothing is created or changed.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use model_foundry::{ConfigReader, Console, Error, Field, OnError, Query, Run, RunReader, Runtime};
use model_foundry_tests::Experiment;

/// Open a run in a folder of runs.
fn open(runs: &Path, experiment: &str) -> model_foundry::Result<Run> {
    Run::builder(experiment).runs_dir(runs).console(Console::Silent).open()
}

/// The problem in an error about a path, which must be this path.
fn problem<T>(result: model_foundry::Result<T>, expected: &Path) -> String {
    match result {
        Err(Error::Path { path, problem }) => {
            assert_eq!(path, expected);
            problem
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{} was accepted", expected.display()),
    }
}

#[test]
fn an_experiment_whose_name_cannot_name_a_folder_is_refused() {
    let experiment = Experiment::new();
    let long = "x".repeat(201);
    for name in [
        "", ".", "..", ".hidden", "a/b", "../up", "/etc", "a\\b", "a\nb", "a\0b", "a\u{7f}b", &long,
    ] {
        let Err(Error::Invalid(message)) = open(experiment.folder(), name) else {
            panic!("{name:?} was accepted");
        };
        let expected = format!("the experiment name {name:?} cannot name a folder");
        assert!(message.starts_with(&expected), "{message}");
    }
    assert_eq!(std::fs::read_dir(experiment.folder()).expect("the folder").count(), 0);
}

#[test]
fn an_experiment_may_have_any_other_name() -> Result<()> {
    let experiment = Experiment::new();
    let long = "x".repeat(200);
    for name in ["a", "tiny-2.0 (größe) 実験", "-rf", "a..b", "con", &long] {
        let run = open(experiment.folder(), name)?;
        assert_eq!(run.folder(), experiment.path(name));
        assert_eq!(run.logger("l").context()[0].value, name.into());
    }
    Ok(())
}

#[test]
fn a_run_folder_that_is_a_file_is_refused() -> Result<()> {
    let experiment = Experiment::new();
    let file = experiment.path("tiny");
    std::fs::write(&file, "precious")?;
    let opened = Run::builder("tiny").folder(&file).console(Console::Silent).open();
    let problem = problem(opened, &file);
    assert!(problem.starts_with("cannot open the run folder: "), "{problem}");
    assert_eq!(experiment.text("tiny"), "precious");
    // A new run has another name.
    let run = open(experiment.folder(), "tiny")?;
    assert_eq!(run.folder(), experiment.path("tiny-2"));
    assert_eq!(experiment.text("tiny"), "precious");
    Ok(())
}

#[test]
fn a_run_folder_that_cannot_be_made_is_refused() -> Result<()> {
    // A folder below a file cannot be made, not even by root.
    let experiment = Experiment::new();
    std::fs::write(experiment.path("file"), "precious")?;
    let runs = experiment.path("file/runs");
    let problem = problem(open(&runs, "tiny"), &runs.join("tiny"));
    assert!(problem.starts_with("cannot create the run folder: "), "{problem}");
    Ok(())
}

#[test]
fn the_folder_of_another_experiment_is_refused() -> Result<()> {
    let experiment = Experiment::new();
    drop(experiment.run());
    let before = experiment.text("run.json");
    let other = Run::builder("other").folder(experiment.folder()).open();
    assert_eq!(
        problem(other, experiment.folder()),
        "this folder holds a run of experiment \"tiny\"; choose another folder"
    );
    assert_eq!(experiment.text("run.json"), before);
    Ok(())
}

#[test]
fn a_manifest_that_is_none_is_told_by_its_path() -> Result<()> {
    for garbage in ["", "{", "[]", "{\"experiment\": 3}", "\u{0}"] {
        let experiment = Experiment::new();
        drop(experiment.run());
        std::fs::write(experiment.path("run.json"), garbage)?;

        let lines = Arc::new(Mutex::new(Vec::new()));
        let print = lines.clone();
        let print = move |line: &str| print.lock().expect("the lines").push(line.to_owned());
        let run = experiment.builder().console(Console::Failures(Arc::new(print))).open()?;

        let lines = lines.lock().expect("the lines").join("\n");
        assert!(lines.contains("run.json.unusable"), "{lines}");
        assert!(lines.contains(&*experiment.folder().to_string_lossy()), "{lines}");
        assert_eq!(experiment.text("run.json.unusable"), garbage, "the file is kept");
        assert_eq!(run.attempt(), 1);
    }
    Ok(())
}

#[test]
fn a_folder_without_a_run_cannot_be_read() -> Result<()> {
    let experiment = Experiment::new();
    let open = |path: &Path| RunReader::open(path).map(drop);

    let absent = experiment.path("absent");
    assert_eq!(problem(open(&absent), &absent), "no such run folder");
    assert_eq!(
        problem(open(experiment.folder()), experiment.folder()),
        "no run in this folder (run.json is missing)"
    );
    let file = experiment.path("file");
    std::fs::write(&file, "")?;
    assert_eq!(problem(open(&file), &file), "not a folder");
    assert!(!absent.exists(), "reading does not create the folder");
    Ok(())
}

#[test]
fn a_configuration_file_that_cannot_be_read_is_told_by_its_path() -> Result<()> {
    let experiment = Experiment::new();
    let mut reader = ConfigReader::new(&Runtime::shared()?)?;
    let mut read = |name: &str| {
        let path = experiment.path(name);
        problem(reader.read_file(&path), &path)
    };

    for name in ["train.ini", "train", "train.json.bak", ".json"] {
        std::fs::write(experiment.path(name), "{}")?;
        assert_eq!(
            read(name),
            "the name of a configuration must end in .json, .toml, .yaml or .yml"
        );
    }
    assert_eq!(read("absent.toml"), "no such file");
    std::fs::write(experiment.path("latin1.yaml"), b"console_level: gr\xf6\xdfe\n")?;
    assert_eq!(read("latin1.yaml"), "the file is not UTF-8 text");
    std::fs::create_dir(experiment.path("folder.json"))?;
    assert!(read("folder.json").contains("directory"));
    Ok(())
}

#[test]
fn a_configuration_file_is_known_by_its_ending() -> Result<()> {
    let experiment = Experiment::new();
    let mut reader = ConfigReader::new(&Runtime::shared()?)?;
    for (name, text) in [
        ("a.json", "{\"max_log_files\": 3}"),
        ("a.toml", "max_log_files = 3"),
        ("a.yaml", "max_log_files: 3"),
        ("a.yml", "max_log_files: 3"),
        ("a.YAML", "max_log_files: 3"),
    ] {
        std::fs::write(experiment.path(name), text)?;
        assert_eq!(reader.read_file(&experiment.path(name))?.logging.max_log_files, 3, "{name}");
    }
    Ok(())
}

#[test]
fn a_configuration_file_that_breaks_rules_is_named() -> Result<()> {
    let experiment = Experiment::new();
    let path = experiment.path("train.toml");
    std::fs::write(&path, "max_log_files = 0")?;
    let mut reader = ConfigReader::new(&Runtime::shared()?)?;
    let error = reader.read_file(&path).expect_err("a violation").to_string();
    let expected = format!("{} breaks a rule:\n  max_log_files = 0: must be", path.display());
    assert!(error.starts_with(&expected), "{error}");
    Ok(())
}

#[test]
fn a_record_beyond_the_largest_is_refused_and_the_next_is_kept() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let huge = "x".repeat(17 << 20);

    for refused in [
        run.logger("trainer").info(&huge, &[]),
        run.metrics().log_step(1, None, &[Field::new("text", huge.as_str())]),
    ] {
        assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
    }
    run.logger("trainer").info("small", &[])?;

    assert_eq!(experiment.record("main.log")["message"], "small");
    // An error is cut, not refused.
    run.errors().log("ValueError", &huge, "", &[])?;
    let message = experiment.record("errors.jsonl")["error_message"].to_string();
    assert!(message.contains(" bytes omitted "), "{} bytes", message.len());
    assert_eq!(run.component_failures(), 0);
    Ok(())
}

#[test]
fn however_many_names_there_are_the_component_stays_within_its_bounds() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.builder().on_error(OnError::Report).open()?;
    let (metrics, performance, errors) = (run.metrics(), run.performance(), run.errors());

    for step in 0..30_u64 {
        let name = |number: u64| Field::new(format!("metric-{step}-{number}"), number as f64);
        metrics.log_step(step, 0, &(0..1_000).map(name).collect::<Vec<_>>())?;
    }
    for number in 0..5_000 {
        performance.record(&format!("operation-{number}"), 0.5)?;
        errors.log(&format!("Type{number}"), "it failed", "", &[])?;
    }

    assert_eq!(run.component_failures(), 0);
    assert_eq!(metrics.all_statistics()?.len(), 8_192);
    assert_eq!(performance.all_statistics()?.len(), 4_096);
    assert_eq!(errors.summary()?.iter().map(|kind| kind.count).sum::<u64>(), 5_000);
    // Metrics without statistics are in the file all the same.
    drop((metrics, performance, errors, run));
    let query = Query { all_attempts: true, ..Query::default() };
    assert_eq!(RunReader::open(experiment.folder())?.entries(query)?.len(), 30);
    Ok(())
}
