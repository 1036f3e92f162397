use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Level;

/// The violations of a text, as (field, value, message).
fn violations(text: &str) -> Vec<(String, String, String)> {
    let violations = parse(text).unwrap_err();
    assert_eq!(check(text), Err(violations.clone()));
    violations.into_iter().map(|wrong| (wrong.field, wrong.value, wrong.message)).collect()
}

/// The message about one field of a logging configuration.
fn message(field: &str, value: &Value) -> String {
    let text = json!({ field: value }).to_string();
    let [(found, shown, message)] = violations(&text).try_into().unwrap();
    assert_eq!((found.as_str(), shown), (field, value.to_string()));
    message
}

fn default_fields() -> Value {
    serde_json::from_str(&defaults()).unwrap()
}

#[test]
fn an_empty_document_means_the_defaults() {
    for text in ["", " \r\n\t", "\u{feff}", "{}"] {
        assert_eq!(parse(text), Ok(LoggingConfig::default()));
        let whole: Value = serde_json::from_str(&check(text).unwrap()).unwrap();
        assert_eq!(whole, json!({ "logging": default_fields() }));
    }
}

#[test]
fn each_type_of_field_names_what_it_allows() {
    let levels = "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL";
    assert_eq!(message("console_level", &json!(20)), levels);
    let meant = format!("{levels}; did you mean WARNING?");
    assert_eq!(message("file_level", &json!("warn")), meant);
    let durabilities = "must be one of buffered, immediate, synced";
    assert_eq!(message("durability", &json!("never")), durabilities);
    assert_eq!(message("log_to_wandb", &json!(1)), "must be true or false");
    let count = "must be a positive integer (at most 4294967295)";
    for wrong in [json!(0), json!(-5), json!(1.5), json!(u64::MAX), json!(true), json!([1])] {
        assert_eq!(message("max_log_files", &wrong), count);
    }
    assert_eq!(message("max_log_files", &json!(10.0)), format!("{count}; did you mean 10?"));
}

#[test]
fn an_unknown_field_gets_the_nearest_known_one() {
    let expected = "is not a known field; did you mean `max_log_files`?";
    assert_eq!(message("maxLogFiles", &json!(1)), expected);
    assert!(message("lr", &json!(0.1)).starts_with("is not a known field; the known fields are "));
}

#[test]
fn an_experiment_keeps_its_other_sections() {
    let text = r#"{"training": {"lr": 0.1, "steps": 10.0}, "logging": {"max_log_files": 3}}"#;
    let mut logging = default_fields();
    logging["max_log_files"] = 3.into();
    let expected = json!({ "training": { "lr": 0.1, "steps": 10.0 }, "logging": logging });
    // As text: the order counts, and 10.0 keeps its decimal point.
    assert_eq!(check(text).unwrap(), format!("{expected:#}\n"));
}

#[test]
fn every_violation_of_a_section_is_named_with_it() {
    let text = r#"{"logging": {"zeal": 1, "max_log_files": 0}}"#;
    let fields: Vec<_> = violations(text).into_iter().map(|(field, _, _)| field).collect();
    assert_eq!(fields, ["logging.zeal", "logging.max_log_files"]);
    let refused = parse_for_logger(text).unwrap_err().to_string();
    assert!(refused.contains("logging.zeal: ") && refused.contains("logging.max_log_files: "));
}

#[test]
fn a_text_that_is_not_an_object_is_one_violation() {
    let expected = "must have fields, each with a name and a value";
    assert_eq!(violations("[1]"), [(String::new(), "[1]".into(), expected.into())]);
    let place = "line 1, column 1: EOF while parsing an object";
    assert_eq!(violations("{"), [(String::new(), String::new(), place.into())]);
}

#[test]
fn the_schema_has_every_field_with_its_default() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let defaults = default_fields();
    let properties = schema["properties"].as_object().unwrap();
    assert!(properties.keys().eq(defaults.as_object().unwrap().keys()));
    for (name, property) in properties {
        assert_eq!(property["default"], defaults[name]);
    }
}

proptest! {
    #[test]
    fn a_configuration_that_was_checked_is_valid(
        level in proptest::sample::select(&Level::ALL[..]),
        durability in proptest::sample::select(&Durability::ALL[..]),
        count in 1..=u32::MAX,
    ) {
        let config =
            LoggingConfig { file_level: level, durability, max_log_files: count, ..Default::default() };
        let text = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(parse(&text), Ok(config.clone()));
        prop_assert_eq!(parse(&check(&text).unwrap()), Ok(config));
    }

    #[test]
    fn any_text_is_read_or_has_violations(text in any::<String>()) {
        if let Err(violations) = check(&text) {
            prop_assert!(violations.iter().all(|violation| !violation.message.contains('\n')));
        }
    }
}
