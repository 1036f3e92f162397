//! The JSON Schema of the configuration: <https://json-schema.org/draft/2020-12/schema>.

use serde_json::{Map, Value, json};

use super::write::indented;
use super::{FIELDS, LoggingConfig};

/// The schema as text.
pub(super) fn text() -> String {
    let mut defaults = LoggingConfig::default();
    let mut properties = Map::new();
    for field in FIELDS {
        let setting = (field.setting)(&mut defaults);
        let mut property = Map::new();
        property.insert("description".to_owned(), field.description.into());
        property.extend(setting.rule().schema());
        property.insert("default".to_owned(), setting.value());
        properties.insert(field.name.to_owned(), Value::Object(property));
    }
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("Logging configuration"));
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("additionalProperties".to_owned(), json!(false));
    indented(schema)
}
