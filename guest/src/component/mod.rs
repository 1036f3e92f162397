//! The exports and imports of the component: nothing but conversions between the component model's types
//! and the logic's.

#[expect(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    reason = "generated; the documentation stands in wit/"
)]
mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "logging",
        generate_all,
    });
    use super::Component;
    export!(Component);
}

mod config;
mod console;
mod errors;
mod host;
mod metrics;
mod performance;
mod structured;
mod verification;

use bindings::model_foundry::logging as imported;
use host::Host;

/// What implements the exported interfaces.
struct Component;

impl From<imported::types::Value> for crate::Value {
    fn from(value: imported::types::Value) -> Self {
        use imported::types::Value;
        match value {
            Value::Null => Self::Null,
            Value::Boolean(boolean) => Self::Boolean(boolean),
            Value::Integer(integer) => Self::Integer(integer),
            Value::Float(float) => Self::Float(float),
            Value::Text(text) => Self::Text(text),
            Value::Json(json) => Self::Json(json),
        }
    }
}

impl From<crate::Value> for imported::types::Value {
    fn from(value: crate::Value) -> Self {
        use crate::Value;
        match value {
            Value::Null => Self::Null,
            Value::Boolean(boolean) => Self::Boolean(boolean),
            Value::Integer(integer) => Self::Integer(integer),
            Value::Float(float) => Self::Float(float),
            Value::Text(text) => Self::Text(text),
            Value::Json(json) => Self::Json(json),
        }
    }
}

fn fields_from(fields: Vec<imported::types::Field>) -> Vec<crate::Field> {
    fields.into_iter().map(|field| (field.name, field.value.into())).collect()
}

fn fields_to(fields: Vec<crate::Field>) -> Vec<imported::types::Field> {
    fields
        .into_iter()
        .map(|(name, value)| imported::types::Field { name, value: value.into() })
        .collect()
}

impl From<imported::types::Level> for crate::Level {
    fn from(level: imported::types::Level) -> Self {
        use imported::types::Level;
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warning => Self::Warning,
            Level::Error => Self::Error,
            Level::Critical => Self::Critical,
        }
    }
}

impl From<crate::Level> for imported::types::Level {
    fn from(level: crate::Level) -> Self {
        use crate::Level;
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warning => Self::Warning,
            Level::Error => Self::Error,
            Level::Critical => Self::Critical,
        }
    }
}

impl From<crate::Error> for imported::types::Error {
    fn from(error: crate::Error) -> Self {
        use crate::Error;
        match error {
            Error::Invalid(message) => Self::Invalid(message),
            Error::Limit(message) => Self::Limit(message),
            Error::Storage(error) => Self::Storage(error.to_string()),
        }
    }
}
