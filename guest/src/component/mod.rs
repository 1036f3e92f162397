//! The exports and imports of the component: nothing but conversions between the component model's types
//! and the logic's.

#[expect(unsafe_code, clippy::all, reason = "generated; the documentation stands in wit/")]
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

use bindings::exports::model_foundry::logging::types;
use host::Host;

/// Put an item in a place, or behind the others where there is none; its number.
fn put<T>(items: &mut Vec<T>, place: Option<usize>, item: T) -> u32 {
    let place = place.unwrap_or(items.len());
    match items.get_mut(place) {
        Some(before) => *before = item,
        None => items.push(item),
    }
    place as u32
}

/// The component's memory has its full size from the start (`cargo xtask component` says which): engines that
/// check accesses by comparing then compare with a constant, and load but once where the memory lies. The
/// standard library's allocator of today uses only what it grows its memory by; this later version of it uses
/// what is there.
#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// What implements the exported interfaces.
struct Component;

impl From<types::Value> for crate::Value {
    fn from(value: types::Value) -> Self {
        use types::Value;
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

impl From<crate::Value> for types::Value {
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

fn fields_from(fields: Vec<types::Field>) -> Vec<crate::Field> {
    fields.into_iter().map(|field| (field.name, field.value.into())).collect()
}

fn fields_to(fields: Vec<crate::Field>) -> Vec<types::Field> {
    fields.into_iter().map(|(name, value)| types::Field { name, value: value.into() }).collect()
}

impl From<types::Level> for crate::Level {
    fn from(level: types::Level) -> Self {
        use types::Level;
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warning => Self::Warning,
            Level::Error => Self::Error,
            Level::Critical => Self::Critical,
        }
    }
}

impl From<crate::Level> for types::Level {
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

impl From<crate::Error> for types::Error {
    fn from(error: crate::Error) -> Self {
        use crate::Error;
        match error {
            Error::Invalid(message) => Self::Invalid(message),
            Error::Limit(message) => Self::Limit(message),
            Error::TooLarge(message) => Self::TooLarge(message),
            Error::Storage(error) => Self::Storage(error.to_string()),
        }
    }
}
