//! The latest value of each metric.

use std::collections::BTreeMap;

use super::MAX_SUMMARY_NAMES;

/// Names with their latest values, in order of first appearance.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest {
    entries: Vec<Entry>,
    /// Where each name is in `entries`.
    indices: BTreeMap<Box<str>, usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Box<str>,
    value: String,
    /// The row that the value belongs to.
    row: u64,
}

impl Latest {
    /// Records a row's value of a name, if the name is known or there is room for one more.
    ///
    /// Returns whether the row already had a value of that name. If so, the new value belongs to the next row.
    ///
    /// `expected` is the index at which to look first. Start with 0; each call sets it to the index after the
    /// name. A step usually logs the same names in the same order as the step before, so the search is seldom
    /// needed. Measured natively, this takes a step of 5 names from 145 to 80 ns, and one of 100 names from 11
    /// to 2.3 µs.
    pub(super) fn set(&mut self, expected: &mut usize, row: u64, name: &str, value: &str) -> bool {
        if self.entries.get(*expected).is_none_or(|entry| *entry.name != *name) {
            match self.indices.get(name) {
                Some(&index) => *expected = index,
                None if self.entries.len() < MAX_SUMMARY_NAMES => {
                    self.indices.insert(name.into(), self.entries.len());
                    self.entries.push(Entry { name: name.into(), value: value.to_owned(), row });
                    *expected = self.entries.len();
                    return false;
                }
                None => return false,
            }
        }
        let entry = &mut self.entries[*expected];
        *expected += 1;
        // Reuse the memory of the old value.
        entry.value.clear();
        entry.value.push_str(value);
        let is_second = entry.row == row;
        entry.row = row + u64::from(is_second);
        is_second
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (&*entry.name, entry.value.as_str()))
    }
}
