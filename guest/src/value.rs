//! Values of fields and metrics.

/// A value of a field or of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON null.
    Null,
    /// true or false.
    Boolean(bool),
    /// A whole number; it is written as one.
    Integer(i64),
    /// A number. NaN and the infinities are kept beside the record.
    Float(f64),
    /// Text.
    Text(String),
    /// One JSON value of any shape; what is not valid JSON is written as text.
    Json(String),
}

impl Value {
    /// The value as a number, if it is one; not finite ones too.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Integer(integer) => Some(*integer as f64),
            Self::Float(float) => Some(*float),
            _ => None,
        }
    }
}

/// A named value.
pub type Field = (String, Value);

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

/// A whole number too large for 64 bits with a sign is written in full.
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

/// None is null.
impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Numbers, text and truth values become their own kinds; lists and objects travel as JSON.
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
