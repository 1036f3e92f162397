//! Fields as the logic walks them, wherever they are stored.

use std::collections::HashMap;

pub use model_foundry_types::{Field, Value, ValueRef};

/// An iterator over named values, wherever they are stored.
pub trait Fields<'a>: Iterator<Item = (&'a str, ValueRef<'a>)> + Clone {}

impl<'a, I: Iterator<Item = (&'a str, ValueRef<'a>)> + Clone> Fields<'a> for I {}

/// A slice of fields as [`Fields`].
pub fn each(fields: &[Field]) -> impl Fields<'_> {
    fields.iter().map(|field| (field.name.as_str(), field.value.as_ref()))
}

/// A one-word Bloom filter over names: one bit for each, chosen by length, first and last byte. False positives
/// are possible, false negatives are not.
#[derive(Clone, Copy, Debug, Default)]
pub struct NameFilter {
    bits: u64,
    /// Two of the names may be equal.
    may_repeat: bool,
}

impl NameFilter {
    /// A filter over the names of these fields.
    pub fn of<'a>(fields: impl Fields<'a>) -> Self {
        let mut filter = Self::default();
        for (name, _) in fields {
            let bit = Self::bit(name);
            filter.may_repeat |= filter.bits & bit != 0;
            filter.bits |= bit;
        }
        filter
    }

    /// False only if the name is not among them.
    pub fn may_contain(&self, name: &str) -> bool {
        self.bits & Self::bit(name) != 0
    }

    /// Those of the fields that no later field of the same name replaces. The filter must be over these fields.
    pub fn last_of_each<'a>(self, fields: impl Fields<'a>) -> impl Fields<'a> {
        /// Up to this many fields, comparing every pair is faster than a table.
        const FEW: usize = 32;
        let last: Option<HashMap<&str, usize>> = (self.may_repeat && fields.clone().count() > FEW)
            .then(|| fields.clone().enumerate().map(|(at, (name, _))| (name, at)).collect());
        let all = fields.clone();
        fields
            .enumerate()
            .filter(move |(at, (name, _))| match &last {
                Some(last) => last.get(name) == Some(at),
                None => {
                    !self.may_repeat || !all.clone().skip(at + 1).any(|(later, _)| later == *name)
                }
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

/// The fields that no later field of the same name replaces.
pub fn last_of_each<'a>(fields: impl Fields<'a>) -> impl Fields<'a> {
    NameFilter::of(fields.clone()).last_of_each(fields)
}
