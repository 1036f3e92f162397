//! StructuredLogger: one JSON line for each record, with a base context in every record.

use std::fmt;
use std::process::Command;

use anyhow::Result;
use model_foundry::{Level, LoggingConfig, StructuredLogger, Value, fields};
use model_foundry_tests::{ConsoleLines, Experiment, START_TEXT, StandInDriver};
use serde_json::json;

/// The names in a logger's base context.
fn names(logger: &StructuredLogger) -> Vec<String> {
    logger.context().into_iter().map(|field| field.name).collect()
}

/// The short commit that the tests run in, or "unknown" outside a repository.
fn git_hash() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let hash = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    hash.map_or("unknown".into(), |hash| String::from_utf8_lossy(&hash).trim().to_owned())
}

#[test]
fn creates_logger_with_base_context() {
    let experiment = Experiment::new();
    let logger = experiment.run().logger("trainer");
    assert_eq!(logger.name(), "trainer");
    assert_eq!(
        logger.context(),
        fields! { experiment: "tiny", git_hash: git_hash(), device: "cpu" }
    );
}

#[test]
fn the_device_of_the_base_context_is_the_first_gpu() -> Result<()> {
    let experiment = Experiment::new();
    let driver = StandInDriver::new(
        "count=1\ndevice.0.uuid=GPU-aa\ndevice.0.name=NVIDIA H100 80GB HBM3\ndevice.0.total=1000",
    );
    let run = experiment.builder().nvml(driver.library()).open()?;
    run.logger("trainer").info("started", &[])?;
    let record = experiment.record("main.log");
    assert_eq!(record["context"]["device"], "cuda:0 NVIDIA H100 80GB HBM3");
    Ok(())
}

#[test]
fn logger_name_matches_input() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    for name in ["trainer", "model_foundry.training.loop", "größe \"x\""] {
        let logger = run.logger(name);
        assert_eq!(logger.name(), name);
        logger.info("here", &[])?;
        assert_eq!(experiment.records("main.log").last().unwrap()["logger"], name);
    }
    Ok(())
}

#[test]
fn base_context_immutable_across_instances() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let (changed, other) = (run.logger("changed"), run.logger("other"));

    changed.update_context(fields! { phase: "warmup", device: "tpu" });
    changed.clear_context_field("git_hash");
    changed.info("mine", &[])?;
    other.info("theirs", &[])?;

    assert_eq!(names(&changed), ["experiment", "device", "phase"]);
    assert_eq!(names(&other), ["experiment", "git_hash", "device"]);
    let records = experiment.records("main.log");
    assert_eq!(records[0]["context"]["phase"], "warmup");
    assert_eq!(records[1]["context"]["device"], "cpu");
    assert!(records[1]["context"].get("phase").is_none());
    Ok(())
}

#[test]
fn log_structured_creates_json_output() -> Result<()> {
    let experiment = Experiment::new();
    let logger = experiment.run().logger("trainer");

    logger.info("Training step", &fields! { step: 100, loss: 0.25, phase: "warm\nup" })?;

    let hash = git_hash();
    assert_eq!(
        experiment.text("main.log"),
        format!(
            "{{\"timestamp\":\"{START_TEXT}\",\"level\":\"INFO\",\"logger\":\"trainer\",\
             \"message\":\"Training step\",\"context\":{{\"experiment\":\"tiny\",\
             \"git_hash\":\"{hash}\",\"device\":\"cpu\",\"step\":100,\"loss\":0.25,\
             \"phase\":\"warm\\nup\"}}}}\n"
        )
    );
    Ok(())
}

#[test]
fn output_format_has_all_base_fields() -> Result<()> {
    let experiment = Experiment::new();
    let logger = experiment.run().logger("trainer");
    for level in Level::ALL {
        logger.log(level, "a message", &[])?;
    }
    let records = experiment.records("main.log");
    assert_eq!(records.len(), 5);
    for record in records {
        assert_eq!(record["message"], "a message");
        for name in ["experiment", "git_hash", "device"] {
            assert!(record["context"][name].is_string(), "{name} of {record}");
        }
    }
    Ok(())
}

/// A test for each method: its record has the method's level, which has this number.
macro_rules! log_at_their_level {
    ($($test:ident: $method:ident, $level:ident, $number:literal;)*) => {$(
        #[test]
        fn $test() -> Result<()> {
            let experiment = Experiment::new();
            experiment.run().logger("trainer").$method("a message", &[])?;
            assert_eq!(experiment.record("main.log")["level"], Level::$level.name());
            assert_eq!(Level::$level.number(), $number);
            Ok(())
        }
    )*};
}

log_at_their_level! {
    debug_level_logs_at_debug: debug, Debug, 10;
    info_level_logs_at_info: info, Info, 20;
    warning_level_logs_at_warning: warning, Warning, 30;
    error_level_logs_at_error: error, Error, 40;
    critical_level_logs_at_critical: critical, Critical, 50;
}

#[test]
fn context_merges_with_base_context() -> Result<()> {
    let experiment = Experiment::new();
    let logger = experiment.run().logger("trainer");

    let optimizer = json!({ "name": "adamw", "betas": [0.9, 0.999] });
    let none: Option<f64> = None;
    logger.info(
        "step",
        &fields! {
            step: 8500, loss: 2.0, epoch: 1.5, ok: true, phase: "train", best: none, optimizer,
        },
    )?;

    // Compared as text: integers stay integers, floats stay floats, and an object keeps its order.
    let line = experiment.text("main.log");
    let own = "\"device\":\"cpu\",\"step\":8500,\"loss\":2.0,\"epoch\":1.5,\"ok\":true,\
        \"phase\":\"train\",\"best\":null,\"optimizer\":{\"name\":\"adamw\",\"betas\":[0.9,0.999]}}}\n";
    assert!(line.ends_with(own), "{line}");
    Ok(())
}

#[test]
fn custom_context_overrides_base_context() -> Result<()> {
    let experiment = Experiment::new();
    let logger = experiment.run().logger("trainer");

    logger.info("moved", &fields! { device: "cuda:1" })?;
    logger.info("back", &[])?;

    let records = experiment.records("main.log");
    assert_eq!(records[0]["context"]["device"], "cuda:1");
    assert_eq!(records[1]["context"]["device"], "cpu");
    // The name appears once.
    let text = experiment.text("main.log");
    assert_eq!(text.lines().next().unwrap_or_default().matches("\"device\"").count(), 1);
    Ok(())
}

#[test]
fn update_base_context() -> Result<()> {
    let experiment = Experiment::new();
    let logger = experiment.run().logger("trainer");

    logger.info("before", &[])?;
    logger.update_context(fields! { epoch: 1, phase: "train" });
    logger.info("first", &[])?;
    logger.update_context(fields! { epoch: 2 });
    logger.info("second", &[])?;

    let records = experiment.records("main.log");
    assert!(records[0]["context"].get("epoch").is_none());
    assert_eq!(records[1]["context"]["epoch"], 1);
    assert_eq!(records[2]["context"]["epoch"], 2);
    assert_eq!(records[2]["context"]["phase"], "train");
    assert_eq!(records[2]["context"]["experiment"], "tiny");
    Ok(())
}

#[test]
fn clear_context_field() -> Result<()> {
    let experiment = Experiment::new();
    let logger = experiment.run().logger("trainer");
    logger.update_context(fields! { epoch: 1, phase: "train" });

    logger.clear_context_field("epoch");
    logger.clear_context_field("never there");
    logger.info("cleared", &[])?;

    let record = experiment.record("main.log");
    assert!(record["context"].get("epoch").is_none());
    assert_eq!(record["context"]["phase"], "train");
    assert_eq!(names(&logger), ["experiment", "git_hash", "device", "phase"]);
    Ok(())
}

#[test]
fn handles_non_serializable_context() -> Result<()> {
    let experiment = Experiment::new();
    let logger = experiment.run().logger("trainer");

    logger.info(
        "odd",
        &fields! {
            object: Value::Json("<Tokenizer at 0x7f>".into()),
            cut_off: Value::Json("{\"a\":".into()),
            loss: f64::NAN,
            best: f64::NEG_INFINITY,
            huge: u64::MAX,
        },
    )?;

    let record = experiment.record("main.log");
    assert_eq!(record["context"]["object"], "<Tokenizer at 0x7f>");
    assert_eq!(record["context"]["cut_off"], "{\"a\":");
    assert_eq!(record["context"]["loss"], json!(null));
    assert_eq!(record["context"]["huge"], u64::MAX);
    assert_eq!(record["non_finite"], json!({ "loss": "NaN", "best": "-inf" }));
    Ok(())
}

/// An error with a cause.
#[derive(Debug)]
struct CheckpointFailed(std::num::ParseIntError);

impl fmt::Display for CheckpointFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("checkpoint 3 is damaged")
    }
}

impl std::error::Error for CheckpointFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn checkpoint_failed() -> CheckpointFailed {
    CheckpointFailed("1O".parse::<u32>().expect_err("not a digit"))
}

#[test]
fn log_exception_with_traceback() -> Result<()> {
    let experiment = Experiment::new();
    let logger = experiment.run().logger("trainer");

    logger.exception("resuming failed", &checkpoint_failed(), &fields! { step: 3 })?;

    let record = experiment.record("main.log");
    assert_eq!(record["level"], "ERROR");
    assert_eq!(record["message"], "resuming failed");
    let context = &record["context"];
    assert_eq!(context["step"], 3);
    let error_type = context["exception_type"].as_str().unwrap_or_default();
    assert!(error_type.ends_with("CheckpointFailed"), "{error_type}");
    assert_eq!(context["exception_message"], "checkpoint 3 is damaged");
    let traceback = context["traceback"].as_str().unwrap_or_default();
    assert!(traceback.contains("CheckpointFailed: checkpoint 3 is damaged"), "{traceback}");
    assert!(traceback.contains("caused by: invalid digit found in string"), "{traceback}");
    assert!(traceback.contains("log_exception_with_traceback"), "{traceback}");
    Ok(())
}

#[test]
fn an_exception_behind_dyn_error_keeps_its_type() -> Result<()> {
    let experiment = Experiment::new();
    let logger = experiment.run().logger("trainer");
    let error: Box<dyn std::error::Error> = Box::new(checkpoint_failed());

    logger.exception("resuming failed", &*error, &[])?;

    assert_eq!(experiment.record("main.log")["context"]["exception_type"], "CheckpointFailed");
    Ok(())
}

#[test]
fn a_record_is_text_where_structured_logging_is_off() -> Result<()> {
    let experiment = Experiment::new();
    let config = LoggingConfig { use_structured_logging: false, ..LoggingConfig::default() };
    let logger = experiment.builder().config(config).open()?.logger("trainer");
    logger.clear_context_field("git_hash");

    logger.warning("loss\njumped", &fields! { loss: f64::NAN, phase: "warm up" })?;

    assert_eq!(
        experiment.text("main.log"),
        format!(
            "{START_TEXT} WARNING trainer: loss\\njumped experiment=tiny device=cpu loss=NaN \
             phase=\"warm up\"\n"
        )
    );
    Ok(())
}

#[test]
fn the_console_shows_the_fields_of_the_call_alone() -> Result<()> {
    let experiment = Experiment::new();
    let console = ConsoleLines::default();
    let logger = experiment.builder().console(console.console()).open()?.logger("trainer");

    logger.debug("below the console's level", &[])?;
    logger.info("step", &fields! { step: 10 })?;

    assert_eq!(console.lines(), [format!("{START_TEXT} INFO trainer: step step=10")]);
    assert_eq!(experiment.records("main.log").len(), 2);
    Ok(())
}

#[test]
fn format_writes_nothing() -> Result<()> {
    let experiment = Experiment::new();
    let logger = experiment.run().logger("trainer");
    logger.clear_context_field("git_hash");
    assert_eq!(
        logger.format("step", &fields! { step: 10 })?,
        r#"{"message":"step","context":{"experiment":"tiny","device":"cpu","step":10}}"#
    );
    assert!(!experiment.path("main.log").exists());
    Ok(())
}
