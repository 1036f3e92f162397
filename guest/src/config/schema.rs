//! The JSON Schema of the configuration: <https://json-schema.org/draft/2020-12/schema>.

use serde_json::{Map, Value, json};

use super::{LoggingConfig, field, indented};

/// The schema as text.
pub(super) fn text() -> String {
    let mut defaults = LoggingConfig::default();
    let mut properties = Map::new();
    for known in LoggingConfig::FIELDS {
        let setting = (known.of)(&mut defaults);
        let mut property = Map::new();
        property.insert("description".to_owned(), known.description.into());
        property.extend(field::rule(&setting).schema());
        property.insert("default".to_owned(), field::value(&setting));
        properties.insert(known.name.to_owned(), Value::Object(property));
    }
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("Logging configuration"));
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("additionalProperties".to_owned(), json!(false));
    indented(schema)
}
