//! Documents of a configuration: JSON, TOML and YAML text as one JSON value.
//!
//! The logic reads JSON; a host reads the other formats into JSON with the feature `formats`.
//!
//! What a JSON number of 64 bits cannot represent becomes text: NaN and the infinities (`"nan"`, `"inf"`, `"-inf"`),
//! TOML's dates and times, and larger integers; those of YAML become the nearest double, which is all that its parser
//! passes on. YAML's aliases and merge keys are expanded; tags and comments are dropped. In every format it is an
//! error if a key is not text or occurs twice, or if values nest more than 32 levels deep.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{Violation, large_integers};

#[cfg(feature = "formats")]
mod formats;

#[cfg(feature = "formats")]
pub use formats::{toml, yaml};

/// How deep a document may nest. A configuration needs about five levels; this takes a quarter of the 512 KiB of
/// stack that wasmtime gives a component. The parsers' own bounds are higher and differ, and TOML's does not
/// apply to dotted keys.
const MAX_DEPTH: usize = 32;

/// Read a JSON text. An empty text is an object without keys.
///
/// # Errors
///
/// A violation of the text as a whole, which begins with the place: `line 3, column 14: `.
pub fn json(text: &str) -> Result<Value, Violation> {
    let Some(text) = content(text) else { return Ok(empty()) };
    let read = |text: &str| {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = Node { depth: 0 }.deserialize(&mut deserializer)?;
        deserializer.end().map(|()| value)
    };
    // The place of an error is that in the text as it was given.
    read(&large_integers::quoted(text)).or_else(|_| read(text)).map_err(|error| {
        // serde_json's column counts bytes.
        let (line, bytes) = (error.line(), error.column());
        let start: usize =
            text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let column = text.get(start..start + bytes).map_or(bytes, |until| until.chars().count());
        // Right after a newline the column is 0.
        let column = column.max(1);
        let message = error.to_string();
        let place = format!(" at line {line} column {bytes}");
        unreadable(line, column, message.strip_suffix(&place).unwrap_or(&message))
    })
}

/// The text without a byte order mark, which editors on Windows write; none if it is blank.
fn content(text: &str) -> Option<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    (!text.trim().is_empty()).then_some(text)
}

/// The value of a document without content.
fn empty() -> Value {
    Value::Object(Map::new())
}

/// Reads one value of JSON or YAML, inside `depth` arrays and objects.
#[derive(Clone, Copy)]
struct Node {
    depth: usize,
}

impl Node {
    /// The reader of the values one level below.
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(too_deep()));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Value, E> {
        Ok(integer.into())
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Value, E> {
        Ok(integer.into())
    }

    fn visit_f64<E>(self, float: f64) -> Result<Value, E> {
        Ok(number(float))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key_seed(Key { before: &object })? {
            object.insert(key, entries.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

/// Reads a key, which must be text and not be among the keys `before` it.
struct Key<'m> {
    before: &'m Map<String, Value>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is text (put it in quotes)")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        if self.before.contains_key(key) {
            return Err(E::custom(format_args!("the key `{key}` occurs twice")));
        }
        Ok(key.to_owned())
    }
}

/// A number, or its text if JSON cannot represent it.
fn number(float: f64) -> Value {
    Number::from_f64(float)
        .map_or_else(|| Value::String(float.to_string().to_lowercase()), Value::Number)
}

fn too_deep() -> String {
    format!("nested more than {MAX_DEPTH} deep")
}

/// The one violation of a text that cannot be read.
fn unreadable(line: usize, column: usize, message: &str) -> Violation {
    let words: Vec<&str> = message.split_whitespace().collect();
    let message = words.join(" ").replace(char::is_control, "\u{fffd}");
    Violation {
        field: String::new(),
        value: String::new(),
        message: format!("line {line}, column {column}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{BytesDeserializer, Error};

    use super::*;

    #[test]
    fn bytes_are_not_a_value() {
        let bytes = BytesDeserializer::<Error>::new(b"x");
        let error = Node { depth: 0 }.deserialize(bytes).unwrap_err();
        assert_eq!(error.to_string(), "invalid type: byte array, expected a value");
    }
}
