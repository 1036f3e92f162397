//! From a document to a configuration, or to all of its violations.

use serde_json::{Map, Value};

use model_foundry_types::document;

use super::field::{self, nearest};
use super::{LoggingConfig, Violation};

/// The section of an experiment configuration that is the logging configuration.
pub(super) const LOGGING: &str = "logging";

/// The other keys that identify an experiment configuration. None is a field of [`LoggingConfig`].
const EXPERIMENT: [&str; 6] =
    ["experiment_name", "data", "tokenizer", "model", "training", "random_seed"];

/// A document whose logging configuration has no violation.
pub(super) struct Document {
    /// The logging configuration, the defaults filled in.
    pub(super) config: LoggingConfig,
    /// The experiment configuration as it was; empty for a plain logging configuration.
    pub(super) sections: Map<String, Value>,
}

impl Document {
    /// Read and check a text.
    pub(super) fn read(text: &str) -> Result<Self, Vec<Violation>> {
        let document = document::json(text).map_err(|violation| vec![violation])?;
        let sections = object(&document, "")?;
        if !sections.keys().any(|key| key == LOGGING || EXPERIMENT.contains(&key.as_str())) {
            return Ok(Self { config: check(sections, "")?, sections: Map::new() });
        }
        let config = match sections.get(LOGGING) {
            None | Some(Value::Null) => LoggingConfig::default(),
            Some(section) => check(object(section, LOGGING)?, "logging.")?,
        };
        Ok(Self { config, sections: sections.clone() })
    }
}

/// The keys and values of a value that must be an object.
fn object<'v>(value: &'v Value, field: &str) -> Result<&'v Map<String, Value>, Vec<Violation>> {
    value.as_object().ok_or_else(|| {
        vec![Violation {
            field: field.to_owned(),
            value: value.to_string(),
            message: "must have fields, each with a name and a value".to_owned(),
        }]
    })
}

/// The configuration in `fields`, or every violation, its field's name after `prefix`.
fn check(fields: &Map<String, Value>, prefix: &str) -> Result<LoggingConfig, Vec<Violation>> {
    let mut config = LoggingConfig::default();
    let mut violations = Vec::new();
    for (name, found) in fields {
        let message = match LoggingConfig::FIELDS.iter().find(|field| field.name == name) {
            Some(field) => match field::set((field.of)(&mut config), found) {
                Ok(()) => continue,
                Err(rule) => rule.message(found),
            },
            None => unknown(name),
        };
        let (field, value) = (format!("{prefix}{name}"), found.to_string());
        violations.push(Violation { field, value, message });
    }
    if violations.is_empty() { Ok(config) } else { Err(violations) }
}

/// The message for a key that is not a field.
fn unknown(name: &str) -> String {
    let known: Vec<&'static str> = LoggingConfig::FIELDS.iter().map(|field| field.name).collect();
    match nearest(name, &known) {
        Some(meant) => format!("is not a known field; did you mean `{meant}`?"),
        None => format!("is not a known field; the known fields are {}", known.join(", ")),
    }
}
