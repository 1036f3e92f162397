//! Files that are removed, replaced or truncated while they are logged to, and files that are not regular files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Result;
use model_foundry::{Error, Run, RunReader, fields};
use model_foundry_tests::{EVERYTHING, Experiment, NO_EPOCH, steps_of};

/// What is done to a file, and its name.
type Deed = (&'static str, fn(&Path));

fn log(run: &Run, steps: std::ops::Range<u64>) -> Result<()> {
    for step in steps {
        run.metrics().log_step(step, NO_EPOCH, &fields! { loss: 0.5 })?;
    }
    Ok(())
}

/// What a person, an editor, logrotate or rsync does to a file.
fn disturbances() -> [Deed; 4] {
    [
        ("rm", |file| fs::remove_file(file).expect("removed")),
        ("mv", |file| fs::rename(file, file.with_extension("old")).expect("moved")),
        ("sed -i", |file| {
            let copy = file.with_extension("new");
            fs::copy(file, &copy).expect("copied");
            fs::rename(copy, file).expect("replaced");
        }),
        (": >", |file| drop(fs::File::create(file).expect("truncated"))),
    ]
}

#[test]
fn later_rows_are_in_the_file_that_has_the_name() -> Result<()> {
    for (what, disturb) in disturbances() {
        let experiment = Experiment::new();
        let run = experiment.run();
        log(&run, 0..100)?;
        run.errors().log("ValueError", "before", "", &[])?;
        for file in ["metrics.jsonl", "errors.jsonl"] {
            disturb(&experiment.path(file));
        }
        log(&run, 100..300)?;
        run.errors().log("ValueError", "after", "", &[])?;
        drop(run);

        let steps = steps_of(&experiment, "metrics.jsonl");
        let later: Vec<_> = steps.iter().copied().filter(|step| *step >= 100).collect();
        assert_eq!(later, (100..300).collect::<Vec<_>>(), "{what}");
        let errors = experiment.records("errors.jsonl");
        let last = errors.last().expect("an error");
        assert_eq!(last["error_message"], "after", "{what}");
        assert_eq!(experiment.latest_attempt()["refused_records"], 0, "{what}");
    }
    Ok(())
}

#[test]
fn a_file_that_is_cut_inside_a_line_goes_on_with_a_new_line() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    log(&run, 0..10)?;
    let file = fs::File::options().write(true).open(experiment.path("metrics.jsonl"))?;
    file.set_len(100)?;
    // A name is checked every few milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(30));
    log(&run, 10..20)?;
    drop(run);

    let entries = RunReader::open(experiment.folder())?.entries(EVERYTHING)?;
    let steps: Vec<_> = entries.iter().filter_map(|entry| entry["step"].as_u64()).collect();
    assert_eq!(steps.iter().filter(|step| **step >= 10).count(), 10, "{steps:?}");
    Ok(())
}

#[test]
fn a_run_folder_that_is_deleted_is_made_again() -> Result<()> {
    let place = tempfile::tempdir()?;
    let folder = place.path().join("run");
    let experiment = Experiment::new();
    let run = experiment.builder().folder(&folder).open()?;
    log(&run, 0..10)?;
    fs::remove_dir_all(&folder)?;
    log(&run, 10..20)?;
    run.logger("trainer").info("still here", &[])?;
    drop(run);

    let text = fs::read_to_string(folder.join("metrics.jsonl"))?;
    for step in 10..20 {
        assert!(text.contains(&format!("\"step\":{step},")), "step {step}: {text}");
    }
    assert!(fs::read_to_string(folder.join("main.log"))?.contains("still here"));
    let manifest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("run.json"))?)?;
    assert_eq!(manifest["attempts"][0]["status"], "completed");
    Ok(())
}

#[test]
fn a_file_that_is_no_regular_file_is_refused_by_its_name() -> Result<()> {
    let make: [Deed; 3] = [
        ("a symbolic link", |path| symlink("/dev/null", path).expect("a link")),
        ("a FIFO", |path| {
            let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
            assert!(made.success());
        }),
        ("a folder", |path| fs::create_dir(path).expect("a folder")),
    ];
    for file in ["metrics.jsonl", "errors.jsonl", "main.log", "performance.jsonl", "console.log"] {
        for (what, make) in make {
            let experiment = Experiment::new();
            make(&experiment.path(file));
            match experiment.builder().open() {
                Err(Error::Path { path, problem }) => {
                    assert_eq!(path, experiment.path(file));
                    assert!(problem.contains(what), "{file}: {problem}");
                }
                other => panic!("{file}, {what}: {other:?}"),
            }
            // Readers do not hang either.
            let reader = RunReader::open(experiment.folder());
            if let Ok(mut reader) = reader {
                let _ = reader.statistics(EVERYTHING, &[]);
                let _ = reader.errors(1);
            }
        }
    }
    Ok(())
}

#[test]
fn a_user_s_file_is_not_deleted() -> Result<()> {
    let experiment = Experiment::new();
    let names =
        ["notes.new-1", "data.new-20240101", ".new-7", "model.pt.new-3", ".x.model-foundry-new-7"];
    for name in names {
        fs::write(experiment.path(name), "mine")?;
    }
    let ours = ".run.json.model-foundry-new-7";
    fs::write(experiment.path(ours), "{")?;
    drop(experiment.run());
    for name in names {
        assert_eq!(experiment.text(name), "mine", "{name}");
    }
    assert!(!experiment.path(ours).exists());
    Ok(())
}
