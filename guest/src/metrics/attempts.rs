//! What a later attempt logged again.
//!
//! Every line stays in the file. By default readers omit what an attempt logged at steps that a later attempt,
//! resuming from a checkpoint, logged again: from the lowest step of the later attempt.

use super::entry::EntryKey;

/// Where each attempt began.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    /// Attempt, lowest step and lowest summarized epoch, in rising order of attempts.
    starts: Vec<Start>,
}

#[derive(Clone, Debug)]
struct Start {
    attempt: u32,
    step: Option<u64>,
    epoch: Option<f64>,
}

impl Attempts {
    /// Add an entry.
    pub(super) fn note(&mut self, entry: &EntryKey) {
        let at = match self.starts.binary_search_by_key(&entry.attempt, |start| start.attempt) {
            Ok(at) => at,
            Err(at) => {
                self.starts.insert(at, Start { attempt: entry.attempt, step: None, epoch: None });
                at
            }
        };
        let start = &mut self.starts[at];
        match (entry.step, entry.epoch) {
            (Some(step), _) => {
                start.step = Some(start.step.map_or(step, |lowest| lowest.min(step)));
            }
            (None, Some(epoch)) => {
                start.epoch = Some(start.epoch.map_or(epoch, |lowest| lowest.min(epoch)));
            }
            (None, None) => {}
        }
    }

    /// Add an attempt's lowest step and lowest epoch.
    pub(super) fn put(&mut self, attempt: u32, step: Option<u64>, epoch: Option<f64>) {
        self.starts.push(Start { attempt, step, epoch });
        self.starts.sort_by_key(|start| start.attempt);
    }

    /// Each attempt with its lowest step and its lowest summarized epoch.
    pub(super) fn starts(&self) -> Vec<(u32, Option<u64>, Option<f64>)> {
        self.starts.iter().map(|start| (start.attempt, start.step, start.epoch)).collect()
    }

    /// Merge the attempts of another part of the file.
    pub(super) fn merge(&mut self, other: &Self) {
        for theirs in &other.starts {
            match self.starts.iter_mut().find(|own| own.attempt == theirs.attempt) {
                Some(own) => {
                    own.step = [own.step, theirs.step].into_iter().flatten().min();
                    own.epoch = [own.epoch, theirs.epoch].into_iter().flatten().reduce(f64::min);
                }
                None => self.put(theirs.attempt, theirs.step, theirs.epoch),
            }
        }
    }

    /// Whether there is an attempt before this one.
    pub(super) fn has_before(&self, attempt: u32) -> bool {
        self.starts.first().is_some_and(|first| first.attempt < attempt)
    }

    /// Whether the entry's attempt has not yet been seen at so low a step or epoch.
    pub(super) fn begins_lower(&self, entry: &EntryKey) -> bool {
        let start = self.starts.iter().find(|start| start.attempt == entry.attempt);
        start.is_none_or(|start| match (entry.step, entry.epoch) {
            (Some(step), _) => start.step.is_none_or(|lowest| step < lowest),
            (None, Some(epoch)) => start.epoch.is_none_or(|lowest| epoch < lowest),
            (None, None) => false,
        })
    }

    /// True if a later attempt logged the entry's step, or its summary's epoch, again.
    pub(super) fn supersede(&self, entry: &EntryKey) -> bool {
        self.starts.iter().rev().take_while(|start| start.attempt > entry.attempt).any(|start| {
            match entry.step {
                Some(step) => start.step.is_some_and(|lowest| lowest <= step),
                None => match (start.epoch, entry.epoch) {
                    (Some(lowest), Some(epoch)) => lowest <= epoch,
                    _ => false,
                },
            }
        })
    }
}
