//! Fields of records and metrics of steps.

#[cfg(feature = "wasmtime")]
use wasmtime::component::{ComponentType, Lift, Lower};

/// The value of a field or of a metric.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(variant))]
pub enum Value {
    /// JSON null.
    #[cfg_attr(feature = "wasmtime", component(name = "null"))]
    Null,
    /// true or false.
    #[cfg_attr(feature = "wasmtime", component(name = "boolean"))]
    Boolean(bool),
    /// An integer. It is written without a decimal point: 8500, never 8500.0.
    #[cfg_attr(feature = "wasmtime", component(name = "integer"))]
    Integer(i64),
    /// A number. In a step or a summary NaN and the infinities are written as null and listed under
    /// `non_finite`.
    #[cfg_attr(feature = "wasmtime", component(name = "float"))]
    Float(f64),
    /// Text.
    #[cfg_attr(feature = "wasmtime", component(name = "text"))]
    Text(String),
    /// One JSON value of any shape. Text that is not valid JSON is written as a JSON string.
    #[cfg_attr(feature = "wasmtime", component(name = "json"))]
    Json(String),
}

impl Value {
    /// The value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Boolean(boolean) => ValueRef::Boolean(*boolean),
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Float(float) => ValueRef::Float(*float),
            Self::Text(text) => ValueRef::Text(text),
            Self::Json(json) => ValueRef::Json(json),
        }
    }
}

/// A [`Value`] whose text is borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// See [`Value::Null`].
    Null,
    /// See [`Value::Boolean`].
    Boolean(bool),
    /// See [`Value::Integer`].
    Integer(i64),
    /// See [`Value::Float`].
    Float(f64),
    /// See [`Value::Text`].
    Text(&'a str),
    /// See [`Value::Json`].
    Json(&'a str),
}

impl ValueRef<'_> {
    /// The value as a number, including NaN and the infinities; `None` for anything that is not a number.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Integer(integer) => Some(*integer as f64),
            Self::Float(float) => Some(*float),
            Self::Json(text) => number_of_digits(text),
            _ => None,
        }
    }
}

/// The number that a JSON text is, if it is one: an integer of more than 64 bits.
fn number_of_digits(text: &str) -> Option<f64> {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Write JSON text as the value that it is, not as a string; empty text as null. Integers of more than 64 bits become
/// text, which keeps their digits.
pub(crate) fn serialize_json<S: serde::Serializer>(
    json: &str,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::Serialize as _;
    let value = if json.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::from_str(&crate::large_integers::quoted(json)).unwrap_or_else(|_| json.into())
    };
    value.serialize(serializer)
}

/// A named value.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Field {
    /// The name. Of several fields with the same name the last one counts.
    pub name: String,
    /// The value.
    pub value: Value,
}

impl Field {
    /// A field of this name and value.
    pub fn new(name: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident as $to:ty),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(<$to>::from(value))
            }
        })*
    };
}

value_from! {
    bool => Boolean as bool,
    i8 => Integer as i64,
    i16 => Integer as i64,
    i32 => Integer as i64,
    i64 => Integer as i64,
    u8 => Integer as i64,
    u16 => Integer as i64,
    u32 => Integer as i64,
    f32 => Float as f64,
    f64 => Float as f64,
    &str => Text as String,
    String => Text as String,
}

/// A number above `i64::MAX` becomes JSON with all its digits.
impl From<u64> for Value {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or_else(|_| Self::Json(value.to_string()), Self::Integer)
    }
}

/// As `u64`.
impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

/// `None` is null.
impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Arrays and objects become JSON; every other value becomes its own kind.
impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(boolean) => Self::Boolean(boolean),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Self::Integer(integer),
                (None, Some(float)) if number.is_f64() => Self::Float(float),
                _ => Self::Json(number.to_string()),
            },
            serde_json::Value::String(text) => Self::Text(text),
            nested => Self::Json(nested.to_string()),
        }
    }
}
