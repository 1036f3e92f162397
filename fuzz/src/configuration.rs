//! Arbitrary texts as configurations.

use model_foundry_guest::config::{LoggingConfig, Violation, check, parse};
use model_foundry_types::document;
use serde_json::{Map, Value};

/// What reads a format.
type Read = fn(&str) -> Result<Value, Violation>;

const FORMATS: [(&str, Read); 3] =
    [("JSON", document::json), ("TOML", document::toml), ("YAML", document::yaml)];

/// Reads a text in each format. Either it is a configuration that JSON can express, or the error names the place
/// and the problem in one line.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for (format, read) in FORMATS {
        match read(text) {
            // As the program does it: the host reads the document, the component checks its JSON.
            Ok(value) => {
                let text = if format == "JSON" { text.to_owned() } else { value.to_string() };
                checks(&text, &value);
            }
            Err(violation) => {
                assert!(violation.value.is_empty(), "{format}: {violation:?}");
                well_formed(&violation);
                if format == "JSON" {
                    assert_eq!(parse(text), Err(vec![violation.clone()]));
                    assert_eq!(check(text), Err(vec![violation]));
                }
            }
        }
    }
}

/// Checks a JSON text that was read as `value`.
fn checks(text: &str, value: &Value) {
    match (parse(text), check(text)) {
        (Ok(config), Ok(whole)) => {
            reads_back(&config, &whole);
            keeps_sections(value, &whole);
        }
        (Err(violations), Err(same)) => {
            assert_eq!(violations, same);
            assert!(!violations.is_empty(), "refused without a violation");
            violations.iter().for_each(well_formed);
        }
        (parsed, checked) => panic!("{parsed:?}, but {checked:?}"),
    }
}

/// The whole configuration has the same logging section, and is its own whole.
fn reads_back(config: &LoggingConfig, whole: &str) {
    assert_eq!(parse(whole).as_ref(), Ok(config));
    assert_eq!(check(whole).as_deref(), Ok(whole), "checking twice changes the sections");
}

/// The other sections of an experiment's configuration are unchanged.
fn keeps_sections(value: &Value, whole: &str) {
    let mut read = value.as_object().cloned().unwrap_or_default();
    let mut whole: Map<String, Value> = serde_json::from_str(whole).expect("an object");
    if whole.len() > 1 || read.contains_key("logging") {
        assert!(whole.contains_key("logging"), "the logging section is missing");
        whole.insert("logging".to_owned(), Value::Null);
        read.insert("logging".to_owned(), Value::Null);
        assert_eq!(whole, read);
    }
}

fn well_formed(violation: &Violation) {
    let Violation { field, value, message } = violation;
    assert!(!message.is_empty() && !message.contains(char::is_control), "{violation:?}");
    if !value.is_empty() {
        let read: Result<Value, _> = serde_json::from_str(value);
        assert!(read.is_ok(), "the value is not JSON: {violation:?}");
    } else {
        assert_eq!(field, "", "{violation:?}");
        let place = place(message);
        assert!(place.is_some_and(|(line, column)| line > 0 && column > 0), "{violation:?}");
    }
}

/// The line and column at the start of a message.
fn place(message: &str) -> Option<(u64, u64)> {
    let (line, rest) = message.strip_prefix("line ")?.split_once(", column ")?;
    let (column, _) = rest.split_once(": ")?;
    Some((line.parse().ok()?, column.parse().ok()?))
}
