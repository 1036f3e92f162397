//! run.json as a versioned format: what is written, what is read, what survives a rewrite.

use anyhow::Result;
use model_foundry::{Error, FORMAT_VERSION, LoggingConfig, RunReader, Status, fields};
use model_foundry_tests::{Experiment, START_TEXT};
use serde_json::{Value, json};

/// An experiment whose run has ended.
fn ended() -> Result<Experiment> {
    let experiment = Experiment::new();
    let run = experiment.run();
    run.metrics().log_step(1, 0.0, &fields! { loss: 0.5 })?;
    run.finish(Status::Completed, Some(0));
    Ok(experiment)
}

fn manifest(experiment: &Experiment) -> Result<Value> {
    Ok(serde_json::from_str(&experiment.text("run.json"))?)
}

/// Change run.json as another program would.
fn change(experiment: &Experiment, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut manifest = manifest(experiment)?;
    change(&mut manifest);
    Ok(std::fs::write(experiment.path("run.json"), manifest.to_string())?)
}

/// Every file of the run folder with its content; locks are empty, and no content.
fn contents(experiment: &Experiment) -> Result<Vec<(String, Vec<u8>)>> {
    let mut contents = Vec::new();
    for entry in std::fs::read_dir(experiment.folder())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && !name.starts_with('.') {
            contents.push((name, std::fs::read(entry.path())?));
        }
    }
    contents.sort();
    Ok(contents)
}

#[test]
fn run_json_is_written_key_by_key() -> Result<()> {
    let experiment = Experiment::new();
    let config = LoggingConfig { log_to_wandb: false, ..LoggingConfig::default() };
    let builder = experiment.builder().command(vec!["train".into(), "--lr=1".into()]);
    let run = builder.config(config).section("model", &fields! { layers: 2 }).open()?;
    run.finish(Status::Failed, Some(3));

    // What differs from machine to machine and from process to process.
    let text = experiment.text("run.json");
    let known = manifest(&experiment)?;
    let mut text = text.replace(&format!("\"pid\": {}", std::process::id()), "\"pid\": [pid]");
    for (name, value) in [
        ("id", &known["id"]),
        ("git_hash", &known["git_hash"]),
        ("git_dirty", &known["attempts"][0]["git_dirty"]),
        ("directory", &known["attempts"][0]["directory"]),
        ("host", &known["attempts"][0]["host"]),
        ("name", &known["host"]["name"]),
        ("platform", &known["host"]["platform"]),
        ("processors", &known["host"]["processors"]),
    ] {
        text = text.replace(&format!("\"{name}\": {value}"), &format!("\"{name}\": [{name}]"));
    }
    insta::assert_snapshot!(text, @r#"
    {
      "format_version": 1,
      "id": [id],
      "experiment": "tiny",
      "git_hash": [git_hash],
      "device": "cpu",
      "host": {
        "name": [name],
        "platform": [platform],
        "processors": [processors]
      },
      "command": [
        "train",
        "--lr=1"
      ],
      "configuration": {
        "model": {
          "layers": 2
        },
        "logging": {
          "console_level": "INFO",
          "file_level": "DEBUG",
          "use_structured_logging": true,
          "log_to_wandb": false,
          "max_log_files": 10,
          "max_log_size_mb": 100,
          "log_metrics_every_n_steps": 10,
          "log_detailed_metrics_every_n_steps": 100,
          "profile_performance": false,
          "log_memory_every_n_steps": 100,
          "max_errors_to_track": 1000,
          "durability": "immediate",
          "flush_interval_ms": 200
        }
      },
      "attempts": [
        {
          "attempt": 1,
          "start": "2025-01-02T03:04:05.678901Z",
          "end": "2025-01-02T03:04:05.678901Z",
          "status": "failed",
          "exit_code": 3,
          "pid": [pid],
          "command": "train --lr=1",
          "directory": [directory],
          "git_hash": [git_hash],
          "git_dirty": [git_dirty],
          "host": [host],
          "device": "cpu",
          "versions": {
            "model_foundry": "0.1.0"
          },
          "configuration": {
            "model": {
              "layers": 2
            },
            "logging": {
              "console_level": "INFO",
              "file_level": "DEBUG",
              "use_structured_logging": true,
              "log_to_wandb": false,
              "max_log_files": 10,
              "max_log_size_mb": 100,
              "log_metrics_every_n_steps": 10,
              "log_detailed_metrics_every_n_steps": 100,
              "profile_performance": false,
              "log_memory_every_n_steps": 100,
              "max_errors_to_track": 1000,
              "durability": "immediate",
              "flush_interval_ms": 200
            }
          },
          "storage_failures": 0,
          "refused_records": 0,
          "component_failures": 0
        }
      ]
    }
    "#);
    Ok(())
}

#[test]
fn a_folder_without_a_format_version_is_of_version_1() -> Result<()> {
    let experiment = ended()?;
    change(&experiment, |manifest| {
        manifest.as_object_mut().expect("an object").shift_remove("format_version");
    })?;

    let reader = RunReader::open(experiment.folder())?;
    assert_eq!(reader.newer_format(), None);
    assert_eq!(reader.manifest()?.map(|manifest| manifest.format_version), Some(1));

    drop(experiment.run());
    assert_eq!(manifest(&experiment)?["format_version"], FORMAT_VERSION);
    Ok(())
}

#[test]
fn keys_of_run_json_that_this_version_does_not_know_survive_a_rewrite() -> Result<()> {
    let experiment = ended()?;
    let tags = json!(["baseline", { "seed": u64::MAX, "rate": 0.1 }]);
    change(&experiment, |manifest| {
        manifest["tags"] = tags.clone();
        manifest["attempts"][0]["signal"] = json!({ "number": 15 });
    })?;

    // A later attempt begins, a process of it changes the latest attempt, and it ends.
    let run = experiment.run();
    assert_eq!(manifest(&experiment)?["tags"], tags);
    change(&experiment, |manifest| {
        manifest["host"]["kernel"] = json!("6.18");
        manifest["attempts"][1]["queue"] = json!("long");
    })?;
    run.finish(Status::Completed, None);

    let written = manifest(&experiment)?;
    assert_eq!(written["tags"], tags);
    assert_eq!(written["host"]["kernel"], "6.18");
    let attempts = &written["attempts"];
    assert_eq!(attempts[0]["signal"], json!({ "number": 15 }));
    assert_eq!(
        (&attempts[1]["queue"], &attempts[1]["status"]),
        (&json!("long"), &json!("completed"))
    );
    assert_eq!(attempts[1]["end"], START_TEXT);
    let read = RunReader::open(experiment.folder())?.manifest()?.expect("run.json");
    assert_eq!(read.extra["tags"], tags);
    Ok(())
}

#[test]
fn a_folder_of_a_newer_format_is_read() -> Result<()> {
    let experiment = ended()?;
    change(&experiment, |manifest| {
        manifest["format_version"] = json!(FORMAT_VERSION + 1);
        manifest["summary"] = json!({ "loss": 0.5 });
    })?;

    let mut reader = RunReader::open(experiment.folder())?;

    assert_eq!(reader.newer_format(), Some(FORMAT_VERSION + 1));
    let manifest = reader.manifest()?.expect("run.json");
    assert_eq!(manifest.format_version, FORMAT_VERSION + 1);
    assert_eq!(manifest.extra["summary"], json!({ "loss": 0.5 }));
    let (statistics, _) = reader.statistics(Default::default(), &[])?;
    assert_eq!(statistics[0].statistics.count, 1);
    Ok(())
}

#[test]
fn a_folder_of_a_newer_format_is_neither_appended_to_nor_repaired() -> Result<()> {
    let experiment = ended()?;
    change(&experiment, |manifest| manifest["format_version"] = json!(FORMAT_VERSION + 1))?;
    std::fs::write(experiment.path("metrics.jsonl"), "{\"of\":\"a newer kind\"}\n{\"torn")?;
    let before = contents(&experiment)?;

    let opened = experiment.builder().open().map(drop);
    let repaired = RunReader::open(experiment.folder())?.repair().map(drop);

    for refused in [opened, repaired] {
        let Err(Error::Path { path, problem }) = refused else { panic!("{refused:?}") };
        assert_eq!(path, experiment.path("run.json"));
        assert_eq!(
            problem,
            format!(
                "format version 2 is newer than 1, the newest that model-foundry {} can change; update \
                 model-foundry, or log to another folder",
                env!("CARGO_PKG_VERSION")
            )
        );
    }
    assert_eq!(contents(&experiment)?, before, "the folder is as it was");
    Ok(())
}

#[test]
fn a_newer_format_that_cannot_be_read_is_named_by_its_version() -> Result<()> {
    let experiment = ended()?;
    change(&experiment, |manifest| {
        *manifest = json!({ "format_version": FORMAT_VERSION + 1, "runs": [] });
    })?;

    let reader = RunReader::open(experiment.folder())?;
    let unread = reader.manifest().map(drop);
    let opened = experiment.builder().open().map(drop);

    assert_eq!(reader.newer_format(), Some(FORMAT_VERSION + 1));
    for refused in [unread, opened] {
        let Err(Error::Path { path, problem }) = refused else { panic!("{refused:?}") };
        assert_eq!(path, experiment.path("run.json"));
        assert!(problem.starts_with("format version 2 is newer than 1, and "), "{problem}");
        assert!(problem.ends_with("update model-foundry"), "{problem}");
    }
    Ok(())
}
