//! Statistics by metric name.

use super::MOST_METRICS;
use super::entry::Entry;
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

/// The statistics of the steps' metrics, and those of the values in epoch summaries.
#[derive(Clone, Debug, Default)]
pub struct AllStatistics {
    /// Of steps.
    pub steps: MetricStatistics,
    /// Of epoch summaries. A sample's step is its epoch, rounded down.
    pub summaries: MetricStatistics,
}

impl AllStatistics {
    /// Those of steps, or of epoch summaries.
    pub fn of(&mut self, summaries: bool) -> &mut MetricStatistics {
        if summaries { &mut self.summaries } else { &mut self.steps }
    }

    /// As [`MetricStatistics::identify`], for an entry of either kind.
    pub(super) fn identify(
        &mut self,
        entry: &Entry<'_>,
        members: &mut Vec<(u32, Option<f64>)>,
    ) -> Result<(), Problem> {
        self.of(entry.step.is_none()).identify(entry, members)
    }

    /// Merge the statistics of later samples.
    pub fn merge(&mut self, later: &Self) {
        self.steps.merge(&later.steps);
        self.summaries.merge(&later.summaries);
    }

    /// The same metrics, with the same ids and without samples.
    pub(super) fn emptied(&self) -> Self {
        Self { steps: self.steps.emptied(), summaries: self.summaries.emptied() }
    }

    /// Only the named metrics; all of them if none are named.
    pub(super) fn only(&self, names: &[String]) -> Self {
        Self { steps: self.steps.only(names), summaries: self.summaries.only(names) }
    }

    /// A metric's statistics: those of its values in steps, or in epoch summaries if no step has it.
    pub fn get(&self, name: &str) -> Option<&Statistics> {
        let has_samples = |it: &&Statistics| it.count + it.non_finite() > 0;
        self.steps.get(name).filter(has_samples).or_else(|| self.summaries.get(name))
    }

    /// The statistics that are reported, those of steps before those of epoch summaries.
    pub fn named(&self) -> Vec<NamedStatistics> {
        let summaries = self.summaries.named().into_iter();
        let summaries = summaries.map(|named| NamedStatistics { of_summaries: true, ..named });
        self.steps.named().into_iter().chain(summaries).collect()
    }
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

    /// Find the id of each of an entry's metrics, or of its summary's values, and put it with the number into
    /// `members`. Names above the limit are left out.
    ///
    /// # Errors
    ///
    /// What is wrong with the line; `members` has what comes before.
    pub fn identify(
        &mut self,
        entry: &Entry<'_>,
        members: &mut Vec<(u32, Option<f64>)>,
    ) -> Result<(), Problem> {
        members.clear();
        let mut place = 0;
        entry.members(&mut |raw, number| {
            let expected = self.order.get(place).copied();
            let expected = expected.filter(|&expected| self.names.name(expected) == raw);
            let id = match expected {
                Some(id) => Some(id),
                None => self.metric_id(&unescape(raw)),
            };
            let Some(id) = id else { return };
            self.order.truncate(place.max(self.order.len().min(place + 1)));
            match self.order.get_mut(place) {
                Some(slot) => *slot = id,
                None => self.order.push(id),
            }
            place += 1;
            members.push((id, number));
        })
    }

    /// The same metrics, with the same ids and without samples.
    pub(super) fn emptied(&self) -> Self {
        let mut emptied = Self::default();
        self.names.iter().for_each(|name| {
            emptied.metric_id(name);
        });
        emptied
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

    /// The id of a metric, if it has one.
    pub(super) fn id(&self, name: &str) -> Option<u32> {
        self.names.id(name)
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
                of_summaries: false,
            })
            .collect()
    }

    /// The name of a metric by its id.
    pub fn name(&self, id: u32) -> &str {
        self.names.name(id)
    }
}
