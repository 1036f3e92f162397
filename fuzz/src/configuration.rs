//! Arbitrary texts as configurations.

use model_foundry_guest::config::{Format, LoggingConfig, Violation, normalize, parse, render};
use serde_json::{Map, Value};

const FORMATS: [Format; 3] = [Format::Json, Format::Toml, Format::Yaml];

/// Reads a text in each format. Either it is a configuration, which every format can express, or the error names
/// the place and the problem in one line.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for format in FORMATS {
        match (parse(text, format), normalize(text, format)) {
            (Ok(config), Ok(whole)) => {
                renders_back(&config);
                assert_eq!(parse(&whole, Format::Json), Ok(config));
                let again = normalize(&whole, Format::Json);
                assert_eq!(again.as_ref(), Ok(&whole), "normalizing twice changes the sections");
                if format == Format::Json {
                    keeps_sections(text, &whole);
                }
            }
            (Err(violations), Err(same)) => {
                assert_eq!(violations, same);
                assert!(!violations.is_empty(), "refused without a violation");
                violations.iter().for_each(check);
            }
            (parsed, normalized) => panic!("{format:?}: {parsed:?}, but {normalized:?}"),
        }
    }
}

fn renders_back(config: &LoggingConfig) {
    for format in FORMATS {
        assert_eq!(parse(&render(config, format), format).as_ref(), Ok(config), "{format:?}");
    }
}

/// The other sections of an experiment's configuration are what serde_json reads.
fn keeps_sections(text: &str, whole: &str) {
    let object = |text: &str| match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    let read = object(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut kept = object(whole);
    if kept.len() > 1 || read.contains_key("logging") {
        assert!(kept.contains_key("logging"), "the logging section is missing");
        kept.insert("logging".to_owned(), Value::Null);
        let mut read = read;
        read.insert("logging".to_owned(), Value::Null);
        assert_eq!(kept, read);
    }
}

fn check(violation: &Violation) {
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
