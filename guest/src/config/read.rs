//! From text of any format to one JSON value.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{MessageFormatter, UserMessageFormatter};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{Format, Violation};

/// How deep a document may nest. A configuration needs five or so; this takes a quarter of the 512 KiB
/// of stack that wasmtime gives a component. The parsers' own bounds are higher and differ, and TOML's
/// does not hold for dotted keys.
const MAX_DEPTH: usize = 32;

/// How many values YAML's aliases may add: a document of a few lines can ask for billions.
const MAX_ALIASED: usize = 100_000;

/// The document; an object without keys where the text has nothing.
pub(super) fn read(text: &str, format: Format) -> Result<Value, Violation> {
    // Windows' editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    match format {
        Format::Json => json(text),
        Format::Toml => toml(text),
        Format::Yaml => yaml(text),
    }
}

fn json(text: &str) -> Result<Value, Violation> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Node { depth: 0 }.deserialize(&mut deserializer);
    value.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| {
        // Its column counts bytes.
        let (line, bytes) = (error.line(), error.column());
        let start: usize =
            text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let column = text.get(start..start + bytes).map_or(bytes, |until| until.chars().count());
        // Right behind a newline it has not counted yet.
        let column = column.max(1);
        let message = error.to_string();
        let place = format!(" at line {line} column {bytes}");
        unreadable(line, column, message.strip_suffix(&place).unwrap_or(&message))
    })
}

fn yaml(text: &str) -> Result<Value, Violation> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIASED },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    let read = |yaml: serde_saphyr::Deserializer<'_, '_>| Node { depth: 0 }.deserialize(yaml);
    match serde_saphyr::with_deserializer_from_str_with_options(text, options, read) {
        // Nothing but comments.
        Ok(Value::Null) => Ok(Value::Object(Map::new())),
        Ok(value) => Ok(value),
        Err(error) => {
            let (line, column) =
                error.location().map_or((1, 1), |place| (place.line(), place.column()));
            Err(unreadable(line as usize, column as usize, &yaml_words(&error)))
        }
    }
}

/// What the parser says, without its own variables' names and without the place. (The error's own
/// rendering draws a picture too, and links all that this takes.)
fn yaml_words(error: &serde_saphyr::Error) -> Cow<'_, str> {
    use serde_saphyr::Error;
    match error {
        Error::AliasError { error, .. } => yaml_words(error),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. }
        | Error::AliasReplayStackDepthExceeded { .. } => too_deep().into(),
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => "too large".into(),
        other => UserMessageFormatter.format_message(other),
    }
}

fn toml(text: &str) -> Result<Value, Violation> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let (span, table) = (document.span(), DeValue::Table(document.into_inner()));
    let value = match errors.first() {
        Some(error) => Err((error.span().unwrap_or_default(), error.message().to_owned())),
        None => toml_value(&table, span, 0),
    };
    dismantle(table);
    value.map_err(|(span, message)| {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.split('\n').count();
        let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
        unreadable(line, column, &message)
    })
}

/// A TOML value as JSON, or where and why not.
fn toml_value(
    value: &DeValue<'_>,
    span: Range<usize>,
    depth: usize,
) -> Result<Value, (Range<usize>, String)> {
    if depth > MAX_DEPTH {
        return Err((span, too_deep()));
    }
    let inner = |value: &Spanned<DeValue<'_>>| toml_value(value.get_ref(), value.span(), depth + 1);
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => toml_integer(integer),
        DeValue::Float(float) => number(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(datetime) => Value::String(datetime.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(inner).collect::<Result<_, _>>()?),
        DeValue::Table(table) => {
            let mut object = Map::new();
            for (key, value) in table {
                object.insert(key.get_ref().to_string(), inner(value)?);
            }
            Value::Object(object)
        }
    })
}

fn toml_integer(integer: &DeInteger<'_>) -> Value {
    let (digits, radix) = (integer.as_str(), integer.radix());
    i64::from_str_radix(digits, radix)
        .map(Number::from)
        .or_else(|_| u64::from_str_radix(digits, radix).map(Number::from))
        .map_or_else(|_| Value::String(integer.to_string()), Value::Number)
}

/// Drop a TOML value without recursion. Dotted keys in inline tables can nest it some six thousand deep,
/// which as recursion takes nearly all of the component's stack.
fn dismantle(value: DeValue<'_>) {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            DeValue::Array(items) => left.extend(items.into_iter().map(Spanned::into_inner)),
            DeValue::Table(table) => {
                left.extend(table.into_iter().map(|(_, value)| value.into_inner()));
            }
            _ => {}
        }
    }
}

/// Reads one value of JSON or YAML, `depth` lists and tables down.
#[derive(Clone, Copy)]
struct Node {
    depth: usize,
}

impl Node {
    /// What is one level further down.
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

/// Reads a key, which must be text and not among those `before` it.
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
            return Err(E::custom(format_args!("the key `{key}` is there twice")));
        }
        Ok(key.to_owned())
    }
}

/// A number, or its text where JSON has no such number.
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
    fn bytes_are_no_value() {
        let bytes = BytesDeserializer::<Error>::new(b"x");
        let error = Node { depth: 0 }.deserialize(bytes).unwrap_err();
        assert_eq!(error.to_string(), "invalid type: byte array, expected a value");
    }
}
