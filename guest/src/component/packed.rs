//! Fields as they cross the border in one piece.

use crate::value::ValueRef;
use crate::{Error, Result};

/// The fields that are left, and their texts.
#[derive(Clone)]
pub(super) struct Packed<'a> {
    texts: &'a str,
    /// Two numbers for each: see `packed-fields` in wit/types.wit.
    fields: &'a [[u64; 2]],
}

impl<'a> Packed<'a> {
    /// Fields whose texts are just these.
    pub(super) fn new(texts: &'a str, numbers: &'a [u64]) -> Result<Self> {
        let (fields, odd) = numbers.as_chunks();
        let packed = Self { texts, fields };
        let mut all = packed.clone();
        while all.next().is_some() {}
        if odd.is_empty() && all.fields.is_empty() && all.texts.is_empty() {
            return Ok(packed);
        }
        Err(Error::Invalid(format!(
            "the packed fields and their texts do not fit: {} bytes and {} fields are left",
            all.texts.len(),
            all.fields.len()
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
