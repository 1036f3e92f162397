//! A message and fields as they cross the component's border on the hot path: one string and one list of
//! numbers, as wit/logging/hot-path.wit describes `packed-fields`.

use crate::{Error, Field, Result, Value, ValueRef};

/// Packs messages and fields, into buffers that it reuses.
#[derive(Debug, Default)]
pub struct Packer {
    texts: String,
    numbers: Vec<u64>,
}

impl Packer {
    /// The capacity that is retained for the texts of the next record, in bytes.
    const RETAINED: usize = 64 << 10;

    /// Pack this message and these fields, replacing the previous ones.
    pub fn pack(&mut self, message: &str, fields: &[Field]) {
        self.texts.clear();
        self.texts.shrink_to(Self::RETAINED);
        self.texts.push_str(message);
        self.numbers.clear();
        for Field { name, value } in fields {
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

/// Unpacks fields: an iterator over those that are left.
#[derive(Clone)]
pub struct Packed<'a> {
    texts: &'a str,
    /// Two numbers for each.
    fields: &'a [[u64; 2]],
}

impl<'a> Packed<'a> {
    /// Unpack a message and fields. `message` is the message's length in bytes, at the start of `texts`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if lengths, texts and numbers do not match.
    pub fn open(message: u32, texts: &'a str, numbers: &'a [u64]) -> Result<(&'a str, Self)> {
        let Some((message, texts)) = texts.split_at_checked(message as usize) else {
            return Err(Error::Invalid(format!(
                "a message of {message} bytes does not fit into {} bytes of texts",
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
            "packed fields and their texts do not match: {} fields and {} bytes are left over",
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

    fn any_field() -> impl Strategy<Value = Field> {
        (".{0,9}", any_value()).prop_map(|(name, value)| Field { name, value })
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
        fn what_is_packed_unpacks(message in ".{0,9}", fields in prop::collection::vec(any_field(), 0..6)) {
            let mut packer = Packer::default();
            packer.pack("before", &fields);
            packer.pack(&message, &fields);
            let (read, packed) = Packed::open(message.len() as u32, packer.texts(), packer.numbers())?;
            prop_assert_eq!(read, message);
            let expected = fields.iter().map(|field| (field.name.as_str(), field.value.as_ref()));
            prop_assert!(packed.eq(expected));
        }
    }
}
