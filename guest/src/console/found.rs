//! What was found in one line.

use std::collections::HashMap;

use super::names;
use crate::value::{Field, Value};

/// The most metrics taken from one line. Further ones are dropped, so that a hostile line cannot use up memory.
pub(super) const MAX_METRICS: usize = 16_384;

/// Up to this many names, a linear search is faster than hashing.
const FEW: usize = 16;

/// The step, the epoch and the metrics of a line.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordMatch {
    /// The step that was printed.
    pub(super) step: Option<u64>,
    /// The epoch that was printed.
    pub(super) epoch: Option<f64>,
    /// The metrics in the order in which they were printed; each name occurs once.
    pub(super) metrics: Vec<Field>,
    /// Where each name is in `metrics`, if there are more than [`FEW`].
    positions: HashMap<String, usize>,
}

impl RecordMatch {
    /// Adds a metric; a later value of the same name replaces the earlier one, as in a dict. False if `printed`
    /// does not make a valid name.
    pub(super) fn add(&mut self, printed: &str, value: Value) -> bool {
        let name = names::field_name(printed);
        if name.is_empty() {
            return false;
        }
        match self.position(&name) {
            Some(position) => self.metrics[position].value = value,
            None if self.metrics.len() < MAX_METRICS => {
                if self.metrics.len() == FEW {
                    let few = self.metrics.iter().enumerate();
                    self.positions = few.map(|(at, field)| (field.name.clone(), at)).collect();
                }
                if self.metrics.len() >= FEW {
                    self.positions.insert(name.clone().into_owned(), self.metrics.len());
                }
                self.metrics.push(Field { name: name.into_owned(), value });
            }
            None => {}
        }
        true
    }

    /// Whether there is a metric of this name.
    pub(super) fn has(&self, printed: &str) -> bool {
        self.position(&names::field_name(printed)).is_some()
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.metrics.len() <= FEW {
            self.metrics.iter().position(|field| field.name == name)
        } else {
            self.positions.get(name).copied()
        }
    }

    /// Whether step, epoch, names and values are the same. NaN counts as equal to NaN.
    pub(super) fn prints_same(&self, other: &Self) -> bool {
        self.step == other.step
            && self.epoch.map(f64::to_bits) == other.epoch.map(f64::to_bits)
            && self.metrics.len() == other.metrics.len()
            && self.metrics.iter().zip(&other.metrics).all(|(one, other)| {
                one.name == other.name
                    && match (&one.value, &other.value) {
                        (Value::Float(value), Value::Float(other)) => {
                            value.to_bits() == other.to_bits()
                        }
                        _ => one.value == other.value,
                    }
            })
    }
}
