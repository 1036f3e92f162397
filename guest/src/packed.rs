//! A message and fields as they cross the border: in one string and one list of numbers, as wit/types.wit
//! describes `packed-fields`.

use crate::value::{Field, Value, ValueRef};
use crate::{Error, Result};

/// Packs, into buffers that serve again.
#[derive(Debug, Default)]
pub struct Packer {
    texts: String,
    numbers: Vec<u64>,
}

impl Packer {
    /// The most room that is kept for the texts of the next record, in bytes.
    const LARGEST_KEPT: usize = 64 << 10;

    /// Pack this message and these fields instead of the ones before.
    pub fn pack(&mut self, message: &str, fields: &[Field]) {
        self.texts.clear();
        self.texts.shrink_to(Self::LARGEST_KEPT);
        self.texts.push_str(message);
        self.numbers.clear();
        for (name, value) in fields {
            self.texts.push_str(name);
            let (kind, bits): (u64, u64) = match value {
                Value::Null => (0, 0),
                Value::Boolean(boolean) => (1, u64::from(*boolean)),
                Value::Integer(integer) => (2, *integer as u64),
                Value::Float(float) => (3, float.to_bits()),
                Value::Text(text) => (4, self.put(text)),
                Value::Json(json) => (5, self.put(json)),
            };
            self.numbers.extend([kind << 32 | name.len() as u64, bits]);
        }
    }

    /// The message, and the fields' names and texts.
    pub fn texts(&self) -> &str {
        &self.texts
    }

    /// Two numbers for each field; a vector, as the generated bindings ask for one.
    pub fn numbers(&self) -> &Vec<u64> {
        &self.numbers
    }

    fn put(&mut self, text: &str) -> u64 {
        self.texts.push_str(text);
        text.len() as u64
    }
}

/// The fields that are left, and their texts.
#[derive(Clone)]
pub struct Packed<'a> {
    texts: &'a str,
    /// Two numbers for each.
    fields: &'a [[u64; 2]],
}

impl<'a> Packed<'a> {
    /// The message of so many bytes that texts begin with, and the fields whose names and texts are the rest.
    pub fn open(message: u32, texts: &'a str, numbers: &'a [u64]) -> Result<(&'a str, Self)> {
        let Some((message, texts)) = texts.split_at_checked(message as usize) else {
            return Err(Error::Invalid(format!(
                "a message of {message} bytes does not fit its {} bytes of texts",
                texts.len()
            )));
        };
        let (fields, odd) = numbers.as_chunks();
        let packed = Self { texts, fields };
        let mut all = packed.clone();
        while all.next().is_some() {}
        if odd.is_empty() && all.fields.is_empty() && all.texts.is_empty() {
            return Ok((message, packed));
        }
        Err(Error::Invalid(format!(
            "the packed fields and their texts do not fit: {} fields and {} bytes are left",
            all.fields.len(),
            all.texts.len()
        )))
    }

    fn read(&mut self, head: u64, bits: u64) -> Option<(&'a str, ValueRef<'a>)> {
        let name = self.text(head & u64::from(u32::MAX))?;
        let value = match head >> 32 {
            0 => ValueRef::Null,
            1 => ValueRef::Boolean(bits != 0),
            2 => ValueRef::Integer(bits as i64),
            3 => ValueRef::Float(f64::from_bits(bits)),
            4 => ValueRef::Text(self.text(bits)?),
            5 => ValueRef::Json(self.text(bits)?),
            _ => return None,
        };
        Some((name, value))
    }

    fn text(&mut self, length: u64) -> Option<&'a str> {
        let (text, rest) = self.texts.split_at_checked(usize::try_from(length).ok()?)?;
        self.texts = rest;
        Some(text)
    }
}

impl<'a> Iterator for Packed<'a> {
    type Item = (&'a str, ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let ([head, bits], rest) = self.fields.split_first()?;
        let before = self.texts;
        let read = self.read(*head, *bits);
        match read {
            Some(_) => self.fields = rest,
            None => self.texts = before,
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::each;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_filter("comparable", |float| !float.is_nan()).prop_map(Value::Float),
            ".{0,9}".prop_map(Value::Text),
            ".{0,9}".prop_map(Value::Json),
        ]
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let float = 3 << 32;
        let text = 4 << 32;
        for (message, texts, numbers) in [
            (3, "é", vec![]),
            (1, "é", vec![]),
            (0, "left over", vec![]),
            (0, "a", vec![float | 1]),
            (0, "a", vec![float | 2, 0]),
            (0, "é", vec![float | 1, 0]),
            (0, "ab", vec![text | 1, 2]),
            (0, "ab", vec![text | 1, u64::MAX]),
            (0, "a", vec![6 << 32 | 1, 0]),
        ] {
            assert!(Packed::open(message, texts, &numbers).is_err(), "{texts:?} {numbers:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks(message in ".{0,9}", fields in prop::collection::vec((".{0,9}", any_value()), 0..6)) {
            let mut packer = Packer::default();
            packer.pack("before", &fields);
            packer.pack(&message, &fields);
            let (read, packed) = Packed::open(message.len() as u32, packer.texts(), packer.numbers())?;
            prop_assert_eq!(read, message);
            prop_assert!(packed.eq(each(&fields)));
        }
    }
}
