//! What one line is found to hold.

use std::collections::HashMap;

use super::names;
use crate::value::{Field, Value};

/// The most metrics taken from one line; more are dropped, so that a hostile line cannot take room.
pub(super) const MAX_METRICS: usize = 16_384;

/// Up to this many, looking through all names is quicker than hashing them.
const FEW: usize = 16;

/// A step, an epoch and metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// The step printed.
    pub(super) step: Option<u64>,
    /// The epoch printed.
    pub(super) epoch: Option<f64>,
    /// The metrics, in the order printed, each name once.
    pub(super) metrics: Vec<Field>,
    /// Where each name is, once there are many.
    positions: HashMap<String, usize>,
}

impl Found {
    /// Takes a metric; of one name the last value stays, as in a dict. False where the name is no name.
    pub(super) fn add(&mut self, printed: &str, value: Value) -> bool {
        let name = names::field_name(printed);
        if name.is_empty() {
            return false;
        }
        match self.position(&name) {
            Some(position) => self.metrics[position].1 = value,
            None if self.metrics.len() < MAX_METRICS => {
                if self.metrics.len() == FEW {
                    let few = self.metrics.iter().enumerate();
                    self.positions = few.map(|(at, (name, _))| (name.clone(), at)).collect();
                }
                if self.metrics.len() >= FEW {
                    self.positions.insert(name.clone().into_owned(), self.metrics.len());
                }
                self.metrics.push((name.into_owned(), value));
            }
            None => {}
        }
        true
    }

    /// Whether a metric of that name was taken.
    pub(super) fn has(&self, printed: &str) -> bool {
        self.position(&names::field_name(printed)).is_some()
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.metrics.len() <= FEW {
            self.metrics.iter().position(|(taken, _)| taken == name)
        } else {
            self.positions.get(name).copied()
        }
    }

    /// Whether the line prints the same as another: steps, epochs, names and values. NaN is the same as NaN.
    pub(super) fn prints_same(&self, other: &Self) -> bool {
        self.step == other.step
            && self.epoch.map(f64::to_bits) == other.epoch.map(f64::to_bits)
            && self.metrics.len() == other.metrics.len()
            && self.metrics.iter().zip(&other.metrics).all(|((name, value), (others, other))| {
                name == others
                    && match (value, other) {
                        (Value::Float(value), Value::Float(other)) => {
                            value.to_bits() == other.to_bits()
                        }
                        _ => value == other,
                    }
            })
    }
}
