//! Values of fields and metrics.

use std::collections::HashMap;

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
    /// The value without its own text.
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

/// A value whose text is somebody else's.
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

/// Named values, wherever they stand.
pub trait Fields<'a>: Iterator<Item = (&'a str, ValueRef<'a>)> + Clone {}

impl<'a, I: Iterator<Item = (&'a str, ValueRef<'a>)> + Clone> Fields<'a> for I {}

/// A slice of fields as [`Fields`].
pub fn each(fields: &[Field]) -> impl Fields<'_> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_ref()))
}

/// A set of names that may be wrong about a name that it does not have: one bit for each, found by length,
/// first and last byte. What is not there need not be searched for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sighted {
    bits: u64,
    /// Two of the names may be the same.
    twice: bool,
}

impl Sighted {
    /// The names of fields.
    pub fn of<'a>(fields: impl Fields<'a>) -> Self {
        let mut sighted = Self::default();
        for (name, _) in fields {
            let bit = Self::bit(name);
            sighted.twice |= sighted.bits & bit != 0;
            sighted.bits |= bit;
        }
        sighted
    }

    /// False only if the name is not among them.
    pub fn may_have(&self, name: &str) -> bool {
        self.bits & Self::bit(name) != 0
    }

    /// Of the fields that this is of, those that no later one of the same name replaces.
    pub fn last_of_each<'a>(self, fields: impl Fields<'a>) -> impl Fields<'a> {
        /// Up to here comparing every pair is faster than a table.
        const FEW: usize = 32;
        let last: Option<HashMap<&str, usize>> = (self.twice && fields.clone().count() > FEW)
            .then(|| fields.clone().enumerate().map(|(at, (name, _))| (name, at)).collect());
        let all = fields.clone();
        fields
            .enumerate()
            .filter(move |(at, (name, _))| match &last {
                Some(last) => last.get(name) == Some(at),
                None => !self.twice || !all.clone().skip(at + 1).any(|(later, _)| later == *name),
            })
            .map(|(_, field)| field)
    }

    fn bit(name: &str) -> u64 {
        let ends = name.as_bytes().first().zip(name.as_bytes().last());
        let (first, last) = ends.map_or((0, 0), |(first, last)| (*first, *last));
        let mixed = u32::from(first).wrapping_mul(7).wrapping_add(u32::from(last).wrapping_mul(31));
        1 << ((mixed + name.len() as u32) % 64)
    }
}

/// The fields that no later one of the same name replaces.
pub fn last_of_each<'a>(fields: impl Fields<'a>) -> impl Fields<'a> {
    Sighted::of(fields.clone()).last_of_each(fields)
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
