//! What a later attempt logged again.
//!
//! Every line stays in the file. By default readers leave out what an attempt logged at steps that a
//! later attempt, resuming from a checkpoint, went through again: steps from the later one's lowest on.

use super::entry::Entry;

/// Where each attempt began.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    /// Attempt, lowest step and lowest summarised epoch, in rising order of attempts.
    starts: Vec<Start>,
}

#[derive(Clone, Debug)]
struct Start {
    attempt: u32,
    step: Option<u64>,
    epoch: Option<f64>,
}

impl Attempts {
    /// Take an entry in.
    pub(super) fn note(&mut self, entry: &Entry<'_>) {
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
                start.step = Some(start.step.map_or(step, |lowest| lowest.min(step)))
            }
            (None, Some(epoch)) => {
                start.epoch = Some(start.epoch.map_or(epoch, |lowest| lowest.min(epoch)));
            }
            (None, None) => {}
        }
    }

    /// True where a later attempt went over the entry's step, or its summary's epoch, again.
    pub(super) fn supersede(&self, entry: &Entry<'_>) -> bool {
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
