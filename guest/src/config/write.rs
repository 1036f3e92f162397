//! From a configuration to text.

use serde_json::{Map, Value};

use super::check::{Document, LOGGING};
use super::{FIELDS, Format, LoggingConfig};

/// The configuration as text of a format.
pub(super) fn rendered(config: &LoggingConfig, format: Format) -> String {
    let fields = fields(config);
    match format {
        Format::Json => indented(fields),
        // A JSON boolean, whole number or plain text is a TOML one too.
        Format::Toml => fields.iter().map(|(name, value)| format!("{name} = {value}\n")).collect(),
        // No name of a choice is anything but text in YAML: it needs no quotes.
        Format::Yaml => fields
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name}: {text}\n"),
                other => format!("{name}: {other}\n"),
            })
            .collect(),
    }
}

/// The experiment configuration as JSON, its logging section complete, where it was or at the end.
pub(super) fn normalized(document: Document) -> String {
    let Document { config, mut sections } = document;
    sections.insert(LOGGING.to_owned(), Value::Object(fields(&config)));
    indented(sections)
}

/// JSON for people, with a newline at the end.
pub(super) fn indented(object: Map<String, Value>) -> String {
    format!("{:#}\n", Value::Object(object))
}

/// Every field with its value.
fn fields(config: &LoggingConfig) -> Map<String, Value> {
    let mut config = config.clone();
    FIELDS
        .iter()
        .map(|field| (field.name.to_owned(), (field.setting)(&mut config).value()))
        .collect()
}
