//! `model-foundry config`: check a configuration, print the default and the schema.

use std::fs;

use anyhow::Result;
use model_foundry_tests::{Workplace, each, printed, printed_json, sentence, text};
use serde_json::{Value, json};

#[test]
fn config_check_tells_every_violation() -> Result<()> {
    let place = Workplace::new();
    place.write("bad.toml", "max_log_files = 0\nconsole_level = \"LOUD\"\nmax_log_file = 3\n");

    let page = place.model_foundry(&["config", "check", "bad.toml"]);
    let as_json = place.model_foundry(&["config", "check", "--json", "bad.toml"]);

    assert_eq!((page.status.code(), as_json.status.code()), (Some(1), Some(1)));
    assert_eq!((text(&page.stderr), text(&as_json.stderr)), (String::new(), String::new()));
    let page = text(&page.stdout);
    let expected = [
        "not valid  bad.toml",
        "  max_log_files = 0: must be a positive integer",
        "  console_level = \"LOUD\": must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
        "  max_log_file = 3: ",
    ];
    assert_eq!(page.lines().count(), expected.len());
    for (line, start) in page.lines().zip(expected) {
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

    let page = printed(&place.model_foundry(&["config", "check", "good.yaml"]));
    let whole = printed_json(&place.model_foundry(&["config", "check", "good.yaml", "--json"]))?;

    insta::assert_snapshot!(page, @r#"
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
    assert_eq!(missing, "nowhere.toml: no such file");
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
