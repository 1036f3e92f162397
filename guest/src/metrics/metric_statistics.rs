//! Statistics by metric name.

use super::MOST_METRICS;
use super::entry::{Entry, Number};
use crate::json::{Problem, unescape};
use crate::names::Names;
use crate::statistics::{Statistics, Streams};
use model_foundry_types::NamedStatistics;

/// Every metric's statistics.
#[derive(Clone, Debug)]
pub struct MetricStatistics {
    names: Names,
    statistics: Streams,
    /// Which metric came after each in the latest entry: the next entry likely has the same order, and
    /// then no name is looked up.
    order: Vec<u32>,
}

impl Default for MetricStatistics {
    fn default() -> Self {
        Self {
            names: Names::at_most(MOST_METRICS),
            statistics: Streams::default(),
            order: Vec::new(),
        }
    }
}

impl MetricStatistics {
    /// The id of a metric; none if there are too many.
    pub fn metric_id(&mut self, name: &str) -> Option<u32> {
        let id = self.names.id_or_insert(name)?;
        if id as usize == self.statistics.len() {
            self.statistics.push(Statistics::default());
        }
        Some(id)
    }

    /// Add a sample of a metric by its id.
    pub fn add(&mut self, id: u32, step: u64, sample: f64) {
        self.statistics[id as usize].add(step, sample);
    }

    /// Add every number of an entry's metrics, and pass each metric's id, the step and the number to the callback.
    /// Summaries are not samples.
    pub fn add_entry(
        &mut self,
        entry: &Entry<'_>,
        sample: &mut dyn FnMut(u32, u64, f64),
    ) -> Result<(), Problem> {
        let Some(step) = entry.step else { return Ok(()) };
        let mut place = 0;
        entry.numbers(&mut |raw, number| {
            let known = self.order.get(place).copied();
            let known = known.filter(|&known| self.names.name(known) == raw);
            let known = match known {
                Some(known) => Some(known),
                None => self.metric_id(&unescape(raw)),
            };
            let Some(known) = known else { return };
            self.order.truncate(place.max(self.order.len().min(place + 1)));
            match self.order.get_mut(place) {
                Some(slot) => *slot = known,
                None => self.order.push(known),
            }
            place += 1;
            let value = match number {
                Number::Finite(value) | Number::NonFinite(value) => value,
            };
            self.add(known, step, value);
            sample(known, step, value);
        })
    }

    /// Add the statistics of another metric; none if there are too many, or it is there already.
    pub(super) fn put(&mut self, name: &str, statistics: Statistics) -> Option<()> {
        let id = self.names.id_or_insert(name)?;
        (id as usize == self.statistics.len()).then(|| self.statistics.push(statistics))
    }

    /// How many metrics there are.
    pub fn len(&self) -> usize {
        self.statistics.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.statistics.is_empty()
    }

    /// Only the named metrics; all of them if none are named.
    pub(super) fn only(&self, names: &[String]) -> Self {
        if names.is_empty() {
            return self.clone();
        }
        let mut only = Self::default();
        for (name, statistics) in self.iter().filter(|(name, _)| names.iter().any(|n| n == name)) {
            // There are no more of them than before.
            let _ = only.put(name, statistics.clone());
        }
        only
    }

    /// Merge the statistics of later samples.
    pub fn merge(&mut self, later: &Self) {
        for (name, statistics) in later.iter() {
            if let Some(id) = self.metric_id(name) {
                self.statistics[id as usize].merge(statistics);
            }
        }
    }

    /// A metric's statistics, if it has any.
    pub fn get(&self, name: &str) -> Option<&Statistics> {
        self.names.id(name).map(|id| &self.statistics[id as usize])
    }

    /// Every metric with its statistics, in order of first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Statistics)> {
        self.names.iter().zip(&*self.statistics)
    }

    /// The statistics that are reported, of every metric that has a sample, in order of first appearance.
    pub fn named(&self) -> Vec<NamedStatistics> {
        self.iter()
            .filter(|(_, statistics)| statistics.count + statistics.non_finite() > 0)
            .map(|(name, statistics)| NamedStatistics {
                name: name.to_owned(),
                statistics: statistics.summary(),
            })
            .collect()
    }

    /// The name of a metric by its id.
    pub fn name(&self, id: u32) -> &str {
        self.names.name(id)
    }
}
