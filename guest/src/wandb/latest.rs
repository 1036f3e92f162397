//! The latest value of each metric.

use std::collections::BTreeMap;

use super::MAX_SUMMARY_NAMES;

/// Names with their latest values, in the order in which the names first came.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest {
    entries: Vec<Entry>,
    places: BTreeMap<Box<str>, usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Box<str>,
    value: String,
    /// The row that has the value.
    row: u64,
}

impl Latest {
    /// Keeps a value of a row, if the name is known or there is room for one more. Says whether
    /// the row has a value of that name already; then the value is that of the next row.
    ///
    /// A training step logs the names of the step before, in the same order: `place` is where
    /// the name is expected, 0 at first, and is moved on behind it. A name that is there needs
    /// no search, and its value's memory is used again.
    pub(super) fn set(&mut self, place: &mut usize, row: u64, name: &str, value: &str) -> bool {
        let expected = self.entries.get(*place);
        if expected.is_none_or(|entry| *entry.name != *name) {
            match self.places.get(name) {
                Some(&known) => *place = known,
                None if self.entries.len() < MAX_SUMMARY_NAMES => {
                    *place = self.entries.len();
                    self.places.insert(name.into(), *place);
                    self.entries.push(Entry { name: name.into(), value: value.to_owned(), row });
                    *place += 1;
                    return false;
                }
                None => return false,
            }
        }
        let entry = &mut self.entries[*place];
        *place += 1;
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
