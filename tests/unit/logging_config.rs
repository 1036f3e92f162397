//! LoggingConfig: its defaults, reading it from JSON, TOML and YAML, and reporting every violation at once.

use anyhow::Result;
use model_foundry::{
    ConfigReader, Durability, Error, ExperimentConfig, Format, Level, LoggingConfig, Run, Runtime,
    Violation,
};
use model_foundry_tests::Experiment;
use serde_json::{Value, json};

const FORMATS: [Format; 3] = [Format::Json, Format::Toml, Format::Yaml];

fn reader() -> Result<ConfigReader> {
    Ok(ConfigReader::new(&Runtime::shared()?)?)
}

fn read(text: &str, format: Format) -> Result<ExperimentConfig> {
    Ok(reader()?.read(text, format, "a text")?)
}

/// The violations in a text.
fn violations(text: &str, format: Format) -> Result<Vec<Violation>> {
    match reader()?.read(text, format, "a text") {
        Err(Error::Config { violations, .. }) => Ok(violations),
        other => panic!("{other:?} of {text}"),
    }
}

/// The only violation of a JSON configuration with one field.
fn violation(field: &str, value: &Value) -> Result<Violation> {
    let found = violations(&json!({ field: value }).to_string(), Format::Json)?;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].field.as_str(), &found[0].value), (field, &value.to_string()));
    Ok(found[0].clone())
}

#[test]
fn default_values() -> Result<()> {
    let expected = LoggingConfig {
        console_level: Level::Info,
        file_level: Level::Debug,
        use_structured_logging: true,
        log_to_wandb: true,
        max_log_files: 10,
        max_log_size_mb: 100,
        log_metrics_every_n_steps: 10,
        log_detailed_metrics_every_n_steps: 100,
        profile_performance: false,
        log_memory_every_n_steps: 100,
        max_errors_to_track: 1000,
        durability: Durability::Immediate,
        flush_interval_ms: 200,
    };
    assert_eq!(LoggingConfig::default(), expected);
    for format in FORMATS {
        assert_eq!(read("", format)?.logging, expected);
    }
    assert_eq!(read("{}", Format::Json)?.logging, expected);
    let experiment = Experiment::new();
    assert_eq!(*experiment.run().config(), expected);
    Ok(())
}

#[test]
fn custom_values() -> Result<()> {
    let expected = LoggingConfig {
        console_level: Level::Warning,
        use_structured_logging: false,
        max_log_size_mb: 5,
        durability: Durability::Buffered,
        ..LoggingConfig::default()
    };
    for (format, text) in [
        (
            Format::Json,
            r#"{"console_level": "WARNING", "use_structured_logging": false,
                "max_log_size_mb": 5, "durability": "buffered"}"#,
        ),
        (
            Format::Toml,
            "console_level = 'WARNING'\nuse_structured_logging = false\n\
             max_log_size_mb = 5 # MiB\ndurability = \"buffered\"\n",
        ),
        (
            Format::Yaml,
            "# Loggers.\nconsole_level: WARNING\nuse_structured_logging: false\n\
             max_log_size_mb: 5\ndurability: buffered\n",
        ),
    ] {
        assert_eq!(read(text, format)?.logging, expected, "{format:?}");
    }
    Ok(())
}

#[test]
fn validates_log_levels() -> Result<()> {
    for field in ["console_level", "file_level"] {
        for level in ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] {
            read(&json!({ field: level }).to_string(), Format::Json)?;
        }
        for wrong in [json!("LOUD"), json!(20), json!(null)] {
            assert_eq!(
                violation(field, &wrong)?.message,
                "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"
            );
        }
        assert_eq!(
            violation(field, &json!("warn"))?.message,
            "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL; did you mean WARNING?"
        );
    }
    Ok(())
}

#[test]
fn validates_positive_integers() -> Result<()> {
    for field in [
        "max_log_files",
        "max_log_size_mb",
        "log_metrics_every_n_steps",
        "log_detailed_metrics_every_n_steps",
        "log_memory_every_n_steps",
        "max_errors_to_track",
        "flush_interval_ms",
    ] {
        read(&json!({ field: 1 }).to_string(), Format::Json)?;
        for wrong in [json!(0), json!(-1), json!(1.5), json!("many"), json!(true)] {
            let message = violation(field, &wrong)?.message;
            assert!(message.starts_with("must be a positive integer"), "{message}");
        }
    }
    Ok(())
}

#[test]
fn integrates_with_experiment_config() -> Result<()> {
    let text = r#"{
        "experiment_name": "tiny",
        "model": {"layers": 12, "dropout": 0.0},
        "logging": {"max_log_files": 3, "console_level": "ERROR"},
        "training": {"lr": 3e-4, "seed": 18446744073709551615}
    }"#;

    let config = read(text, Format::Json)?;

    let logging =
        LoggingConfig { max_log_files: 3, console_level: Level::Error, ..LoggingConfig::default() };
    assert_eq!(config.logging, logging);
    // Compared as text: 12 must not become 12.0, and the order must stay.
    let section = |name: &str| config.whole[name].to_string();
    assert!(config.whole.keys().eq(["experiment_name", "model", "logging", "training"]));
    assert_eq!(section("model"), r#"{"layers":12,"dropout":0.0}"#);
    assert_eq!(section("training"), r#"{"lr":0.0003,"seed":18446744073709551615}"#);
    assert_eq!(config.whole["logging"]["max_log_files"], 3);
    assert_eq!(config.whole["logging"]["max_log_size_mb"], 100);

    // The whole configuration is recorded with the run.
    let experiment = Experiment::new();
    let run = experiment.builder().experiment_config(config.clone()).open()?;
    assert_eq!(*run.config(), config.logging);
    assert_eq!(experiment.json("run.json")["configuration"], Value::Object(config.whole));
    Ok(())
}

#[test]
fn an_experiment_config_reads_the_same_in_every_format() -> Result<()> {
    let json = r#"{"model": {"layers": 12}, "logging": {"file_level": "INFO"}}"#;
    let toml = "[model]\nlayers = 12\n[logging]\nfile_level = 'INFO'\n";
    let yaml = "model:\n  layers: 12\nlogging:\n  file_level: INFO\n";
    let expected = read(json, Format::Json)?;
    assert_eq!(read(toml, Format::Toml)?, expected);
    assert_eq!(read(yaml, Format::Yaml)?, expected);
    Ok(())
}

#[test]
fn every_violation_is_told_at_once() -> Result<()> {
    let json =
        r#"{"logging": {"console_level": "LOUD", "max_log_files": 0, "log_to_wandb": "yes"}}"#;
    let toml = "[logging]\nconsole_level = 'LOUD'\nmax_log_files = 0\nlog_to_wandb = 'yes'\n";
    let yaml = "logging:\n  console_level: LOUD\n  max_log_files: 0\n  log_to_wandb: 'yes'\n";
    for (format, text) in [(Format::Json, json), (Format::Toml, toml), (Format::Yaml, yaml)] {
        let found = violations(text, format)?;
        let fields: Vec<_> =
            found.iter().map(|wrong| (wrong.field.as_str(), wrong.value.as_str())).collect();
        assert_eq!(
            fields,
            [
                ("logging.console_level", "\"LOUD\""),
                ("logging.max_log_files", "0"),
                ("logging.log_to_wandb", "\"yes\""),
            ]
        );
    }
    Ok(())
}

#[test]
fn violations_are_shown_with_field_value_and_rule() -> Result<()> {
    let text = r#"{"max_log_files": 0, "durability": "sync"}"#;
    let error = reader()?.read(text, Format::Json, "train.json").expect_err("two violations");
    assert_eq!(
        error.to_string(),
        "train.json breaks 2 rules:\n  \
         max_log_files = 0: must be a positive integer (at most 4294967295)\n  \
         durability = \"sync\": must be one of buffered, immediate, synced; did you mean synced?"
    );
    Ok(())
}

#[test]
fn an_unknown_field_is_told_with_the_nearest_known_one() -> Result<()> {
    for (wrong, meant) in [
        ("max_log_file", "max_log_files"),
        ("consoleLevel", "console_level"),
        ("flush-interval-ms", "flush_interval_ms"),
    ] {
        let message = violation(wrong, &json!(1))?.message;
        assert_eq!(message, format!("is not a known field; did you mean `{meant}`?"));
    }
    let message = violation("zzz", &json!(1))?.message;
    assert!(
        message.starts_with("is not a known field; the known fields are console_level, "),
        "{message}"
    );
    Ok(())
}

#[test]
fn a_text_that_cannot_be_read_is_told_with_its_place() -> Result<()> {
    for (format, text, place) in [
        (Format::Json, "{\n  \"max_log_files\": ,\n}", "line 2, column "),
        (Format::Toml, "a = 1\nb = = 2\n", "line 2, column "),
        (Format::Yaml, "a: 1\nb: [1\n", "line "),
    ] {
        let found = violations(text, format)?;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].field.as_str(), found[0].value.as_str()), ("", ""));
        assert!(found[0].message.starts_with(place), "{}", found[0].message);
    }
    Ok(())
}

#[test]
fn what_is_rendered_reads_back() -> Result<()> {
    let config = LoggingConfig {
        console_level: Level::Critical,
        log_to_wandb: false,
        max_errors_to_track: 7,
        durability: Durability::Synced,
        ..LoggingConfig::default()
    };
    for format in FORMATS {
        let text = reader()?.render(&config, format)?;
        assert_eq!(read(&text, format)?.logging, config, "{text}");
    }
    Ok(())
}

#[test]
fn the_schema_has_every_field_with_its_default() -> Result<()> {
    let mut reader = reader()?;
    let schema: Value = serde_json::from_str(&reader.schema()?)?;
    let defaults: Value =
        serde_json::from_str(&reader.render(&LoggingConfig::default(), Format::Json)?)?;
    assert_eq!(schema["additionalProperties"], false);
    for (name, default) in defaults.as_object().expect("an object") {
        assert_eq!(schema["properties"][name]["default"], *default, "{name}");
    }
    Ok(())
}

#[test]
fn a_plain_run_keeps_its_configuration_too() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let recorded = run.manifest().configuration;
    assert_eq!(recorded["logging"]["console_level"], "INFO");
    assert_eq!(recorded.len(), 1);
    drop(run);
    assert!(Run::builder("tiny").folder(experiment.folder()).open().is_ok());
    Ok(())
}
