//! What one line, or several lines that belong together, say about a training.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::names;
use crate::value::{Field, Value};

/// The most metrics taken from one line. Further ones are dropped, so that a hostile line cannot use up memory.
pub(super) const MAX_METRICS: usize = 16_384;

/// Up to this many names, a linear search is faster than hashing.
const FEW: usize = 16;

/// Which part of the training a line reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing says that it is anything but the training itself.
    #[default]
    Training,
    /// An evaluation, with the prefix for the names of its metrics: the trainer's own word for it.
    Evaluation(&'static str),
}

/// How a printed step counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// The steps of the whole run: `global_step`, `num_updates`.
    Run,
    /// What the trainer calls a step, an iteration or a batch: of the run or of the epoch.
    Marker,
    /// The position of a progress bar or of a ratio without a name.
    Progress,
}

/// A printed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PrintedStep {
    pub(super) value: u64,
    /// The number after the slash: `100/500`.
    pub(super) total: Option<u64>,
    pub(super) count: Count,
}

impl PrintedStep {
    /// What the trainer calls a step, without its total.
    pub(super) fn marker(value: u64) -> Self {
        Self { value, total: None, count: Count::Marker }
    }

    /// A step whose name has a rank; see [`names::RUN`].
    pub(super) fn of_rank(rank: u8, value: u64, total: Option<u64>) -> Self {
        let count = if rank == names::RUN { Count::Run } else { Count::Marker };
        Self { value, total, count }
    }

    /// The position of a progress bar or of a ratio.
    pub(super) fn progress(value: u64, total: Option<u64>) -> Self {
        Self { value, total, count: Count::Progress }
    }
}

/// Names and values in the order in which they were printed; each name occurs once.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    fields: Vec<Field>,
    /// Where each name is in `fields`, if there are more than [`FEW`].
    positions: HashMap<String, usize>,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Observation {
    pub(super) phase: Phase,
    pub(super) step: Option<PrintedStep>,
    pub(super) epoch: Option<f64>,
    /// The number after the epoch's slash: `Epoch 1/5`.
    pub(super) epoch_total: Option<u64>,
    pub(super) metrics: Metrics,
    /// The line counts nothing by itself, and belongs to the lines before it.
    pub(super) stands_alone: bool,
}

impl Metrics {
    pub(super) fn with_capacity(fields: usize) -> Self {
        Self { fields: Vec::with_capacity(fields), ..Self::default() }
    }

    /// Adds a metric; a later value of the same name replaces the earlier one, as in a dict. False if `printed`
    /// does not make a valid name.
    pub(super) fn add(&mut self, printed: &str, value: Value) -> bool {
        let name = names::field_name(printed);
        if name.is_empty() {
            return false;
        }
        match self.position(&name) {
            Some(position) => self.fields[position].value = value,
            None if self.fields.len() < MAX_METRICS => {
                if self.fields.len() == FEW {
                    let few = self.fields.iter().enumerate();
                    self.positions = few.map(|(at, field)| (field.name.clone(), at)).collect();
                }
                if self.fields.len() >= FEW {
                    self.positions.insert(name.clone().into_owned(), self.fields.len());
                }
                self.fields.push(Field { name: name.into_owned(), value });
            }
            None => {}
        }
        true
    }

    /// Adds a metric, unless there is one of its name.
    pub(super) fn add_new(&mut self, printed: &str, value: Value) {
        let name = names::field_name(printed);
        if self.position(&name).is_none() {
            self.add(&name, value);
        }
    }

    /// Whether there is a metric of this name.
    pub(super) fn has(&self, printed: &str) -> bool {
        self.position(&names::field_name(printed)).is_some()
    }

    pub(super) fn any(&self, test: impl Fn(&str) -> bool) -> bool {
        self.fields.iter().any(|field| test(&field.name))
    }

    /// Whether one of the names is that of a training result, and how many are those of settings.
    pub(super) fn outcome_and_settings(&self) -> (bool, usize) {
        self.fields.iter().map(|field| names::class(&field.name)).fold(
            (false, 0),
            |(outcome, settings), class| {
                (outcome || class.outcome, settings + usize::from(class.setting))
            },
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter()
    }

    /// The fields, renamed where `rename` returns a name. Names that become equal keep the first value.
    pub(super) fn renamed(self, mut rename: impl FnMut(&str) -> Option<String>) -> Vec<Field> {
        let mut fields = self.fields;
        let mut changed = false;
        for field in &mut fields {
            if let Some(name) = rename(&field.name) {
                field.name = name;
                changed = true;
            }
        }
        if !changed {
            return fields;
        }
        let mut renamed = Self::default();
        for Field { name, value } in fields {
            if !renamed.has(&name) {
                renamed.add(&name, value);
            }
        }
        renamed.fields
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.fields.len() <= FEW {
            self.fields.iter().position(|field| field.name == name)
        } else {
            self.positions.get(name).copied()
        }
    }

    /// A number that is the same for the same names and values, and with near certainty another one for others. NaN
    /// counts as equal to NaN.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for Field { name, value } in &self.fields {
            name.hash(&mut hasher);
            match value {
                Value::Float(float) => float.to_bits().hash(&mut hasher),
                Value::Integer(integer) => integer.hash(&mut hasher),
                Value::Json(text) => text.hash(&mut hasher),
                _ => {}
            }
        }
        hasher.finish()
    }
}
