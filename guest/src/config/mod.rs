//! The rules of the logging configuration.
//!
//! [`LoggingConfig`] lists the fields; what each type of field allows is in `field`. Checking and the JSON Schema
//! walk the same table.
//!
//! # What a document is
//!
//! A document with a `logging` key, or with a key that only experiment configurations have (`experiment_name`,
//! `data`, `tokenizer`, `model`, `training`, `random_seed`), is an experiment configuration: its `logging` section
//! is checked, and the rest is not looked at. Any other document is a logging configuration itself, and every key
//! of it a field. An empty document means the defaults.
//!
//! A document is JSON text; [`model_foundry_types::document`] says how it is read.

mod check;
mod field;
mod schema;

#[cfg(test)]
mod tests;

pub use model_foundry_types::{Durability, LoggingConfig, Violation};
use serde_json::{Map, Value};

use self::check::Document;
use crate::{Error, Result};

/// The logging configuration in a document, the defaults filled in.
///
/// # Errors
///
/// Every violation, in the order of the document; or, if the text is not JSON, the one place where reading
/// stopped.
pub fn parse(text: &str) -> Result<LoggingConfig, Vec<Violation>> {
    Document::read(text).map(|document| document.config)
}

/// As [`parse`], for a logger that is opened with a configuration: the violations become one error.
///
/// # Errors
///
/// [`Error::Invalid`] with every violation.
pub fn parse_for_logger(text: &str) -> Result<LoggingConfig> {
    parse(text).map_err(|violations| {
        let sentence =
            |violation: &Violation| format!("{}: {}", violation.field, violation.message);
        let sentences: Vec<String> = violations.iter().map(sentence).collect();
        Error::Invalid(format!("the logging configuration is not valid: {}", sentences.join("; ")))
    })
}

/// The whole experiment configuration as indented JSON: its `logging` section with every field, every other
/// section unchanged. A plain logging configuration becomes the `logging` section of an otherwise empty one.
///
/// # Errors
///
/// Those of [`parse`].
pub fn check(text: &str) -> Result<String, Vec<Violation>> {
    let Document { config, mut sections } = Document::read(text)?;
    sections.insert(check::LOGGING.to_owned(), Value::Object(fields(&config)));
    Ok(indented(sections))
}

/// The default logging configuration as indented JSON.
pub fn defaults() -> String {
    indented(fields(&LoggingConfig::default()))
}

/// The JSON Schema (2020-12) of the logging configuration, as indented JSON.
pub fn schema() -> String {
    schema::text()
}

/// Every field with its value.
fn fields(config: &LoggingConfig) -> Map<String, Value> {
    let mut config = config.clone();
    let mut value =
        |field: &model_foundry_types::LoggingField| field::value(&(field.of)(&mut config));
    LoggingConfig::FIELDS.iter().map(|field| (field.name.to_owned(), value(field))).collect()
}

/// JSON for people, with a newline at the end.
fn indented(object: Map<String, Value>) -> String {
    format!("{:#}\n", Value::Object(object))
}
