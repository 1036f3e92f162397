//! TOML and YAML.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::DeserializeSeed as _;
use serde_json::{Map, Number, Value};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{MessageFormatter, UserMessageFormatter};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{MAX_DEPTH, Node, content, empty, number, too_deep, unreadable};
use crate::Violation;

/// How many values YAML's aliases may add. Without a bound a document of a few lines asks for billions.
const MAX_ALIASED: usize = 100_000;

/// Read a YAML 1.2 text. `yes`, `no`, `on` and `off` are text. A text without content is an object without keys.
///
/// # Errors
///
/// As [`json`](super::json).
pub fn yaml(text: &str) -> Result<Value, Violation> {
    let Some(text) = content(text) else { return Ok(empty()) };
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
        // Only comments.
        Ok(Value::Null) => Ok(empty()),
        Ok(value) => Ok(value),
        Err(error) => {
            let (line, column) =
                error.location().map_or((1, 1), |place| (place.line(), place.column()));
            Err(unreadable(line as usize, column as usize, &yaml_words(&error)))
        }
    }
}

/// The parser's message without the names of its own variables and without the place.
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

/// Read a TOML 1.1 text.
///
/// # Errors
///
/// As [`json`](super::json).
pub fn toml(text: &str) -> Result<Value, Violation> {
    let Some(text) = content(text) else { return Ok(empty()) };
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

/// A TOML value as JSON, or the place and the reason of an error.
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

/// Drop a TOML value without recursion: dotted keys in inline tables can nest it some six thousand levels deep,
/// which would overflow a small stack.
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
