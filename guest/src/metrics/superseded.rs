//! What a later attempt logged again.
//!
//! Every line stays in the file. By default readers omit a value if a later attempt logged the same metric at the
//! same step, and a summary if a later attempt summarized the same epoch. They omit nothing else: an attempt that
//! resumes at step 900 says nothing about the steps 901 to 1,000 until it has logged them.

use std::collections::{BTreeMap, BTreeSet};

/// How many progressions are recorded for all attempts and metrics together, at most: 96 MiB. Values that were logged
/// again at irregular steps beyond that are not omitted.
const MOST_PROGRESSIONS: usize = 4 << 20;

/// The steps at which an attempt logged a metric. A training logs at regular steps, which takes one progression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// In rising order, without overlap.
    progressions: Vec<Progression>,
    /// The steps that came after a higher one.
    others: BTreeSet<u64>,
}

/// The steps `first`, `first + stride`, … `last`. The stride of a single step is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progression {
    first: u64,
    last: u64,
    stride: u64,
}

impl Steps {
    /// Add a step; returns how many more progressions that takes.
    fn add(&mut self, step: u64) -> usize {
        match self.progressions.last_mut() {
            Some(latest) if step > latest.last => {
                let stride = step - latest.last;
                if latest.stride == 0 || latest.stride == stride {
                    (latest.stride, latest.last) = (stride, step);
                    return 0;
                }
            }
            Some(_) => return usize::from(!self.contains(step) && self.others.insert(step)),
            None => {}
        }
        self.progressions.push(Progression { first: step, last: step, stride: 0 });
        1
    }

    /// Whether a step is among them.
    fn contains(&self, step: u64) -> bool {
        let after = self.progressions.partition_point(|progression| progression.first <= step);
        let in_progression = after.checked_sub(1).is_some_and(|at| {
            let Progression { first, last, stride } = self.progressions[at];
            step <= last && (step - first).checked_rem(stride).unwrap_or(step - first) == 0
        });
        in_progression || self.others.contains(&step)
    }

    fn highest(&self) -> Option<u64> {
        self.progressions.last().map(|progression| progression.last)
    }

    fn lowest(&self) -> Option<u64> {
        let first = self.progressions.first().map(|progression| progression.first);
        first.into_iter().chain(self.others.first().copied()).min()
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        let progressions =
            self.progressions.iter().flat_map(|&Progression { first, last, stride }| {
                let count = (last - first).checked_div(stride).unwrap_or(0);
                (0..=count).map(move |at| first + at * stride)
            });
        progressions.chain(self.others.iter().copied())
    }

    /// Numbers from which [`from_numbers`](Self::from_numbers) makes the same steps.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        let progressions =
            self.progressions.iter().flat_map(|p| [p.first, p.last - p.first, p.stride]);
        let lengths = [self.progressions.len() as u64, self.others.len() as u64];
        lengths.into_iter().chain(progressions).chain(self.others.iter().copied())
    }

    /// Steps from the numbers that `next` returns; none if they are not steps.
    pub(super) fn from_numbers(mut next: impl FnMut() -> Option<u64>) -> Option<Self> {
        let (progressions, others) = (next()?, next()?);
        let mut steps = Self::default();
        for _ in 0..progressions {
            let (first, length, stride) = (next()?, next()?, next()?);
            let last = first.checked_add(length)?;
            let is_whole = length.checked_rem(stride).unwrap_or(length) == 0;
            if !is_whole || steps.highest().is_some_and(|highest| first <= highest) {
                return None;
            }
            steps.progressions.push(Progression { first, last, stride });
        }
        for _ in 0..others {
            steps.others.insert(next()?);
        }
        Some(steps)
    }
}

/// What one attempt logged: the steps of each metric, by the metric's id, and the epochs of its summaries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AttemptSteps {
    pub(super) steps: Vec<Steps>,
    /// The bits of the epochs, with 0 for -0.
    pub(super) epochs: BTreeSet<u64>,
}

impl AttemptSteps {
    /// Add a metric's step; returns how many more progressions that takes.
    pub(super) fn note(&mut self, metric: u32, step: u64) -> usize {
        let metric = metric as usize;
        if metric >= self.steps.len() {
            self.steps.resize_with(metric + 1, Steps::default);
        }
        self.steps[metric].add(step)
    }

    /// Add a summary's epoch.
    pub(super) fn note_epoch(&mut self, epoch: f64) {
        self.epochs.insert(bits(epoch));
    }

    /// The lowest step of a metric, if it was logged.
    pub(super) fn lowest(&self, metric: u32) -> Option<u64> {
        self.steps.get(metric as usize)?.lowest()
    }

    fn has(&self, metric: u32, step: u64) -> bool {
        self.steps.get(metric as usize).is_some_and(|steps| steps.contains(step))
    }
}

/// What the attempts logged, as far as it decides which values are omitted.
#[derive(Clone, Debug, Default)]
pub(super) struct Logged {
    /// Of the first attempt, which repeats nothing: one more than the highest step of each metric, by its id.
    pub(super) first: Vec<u64>,
    /// The highest summarized epoch of the first attempt.
    pub(super) first_epoch: Option<f64>,
    /// Of each later attempt: everything.
    pub(super) later: BTreeMap<u32, AttemptSteps>,
    progressions: usize,
    /// One more than the highest step of each metric in the attempts from the second to the one before this.
    before: (u32, Vec<u64>),
}

impl Logged {
    /// Note that an attempt logged a metric at a step.
    #[inline]
    pub(super) fn note(&mut self, attempt: u32, metric: u32, step: u64) {
        if attempt > 1 {
            return self.note_later(attempt, metric, step);
        }
        let metric = metric as usize;
        if metric >= self.first.len() {
            self.first.resize(metric + 1, 0);
        }
        self.first[metric] = self.first[metric].max(step.saturating_add(1));
    }

    fn note_later(&mut self, attempt: u32, metric: u32, step: u64) {
        if self.progressions < MOST_PROGRESSIONS {
            self.progressions += self.later.entry(attempt).or_default().note(metric, step);
        }
        if attempt < self.before.0 {
            self.before.0 = 0;
        }
    }

    /// Note that an attempt summarized an epoch.
    pub(super) fn note_epoch(&mut self, attempt: u32, epoch: f64) {
        if attempt > 1 {
            self.later.entry(attempt).or_default().note_epoch(epoch);
        } else {
            self.first_epoch = Some(self.first_epoch.map_or(epoch, |highest| highest.max(epoch)));
        }
    }

    /// Put what a later attempt logged, as an index stored it.
    pub(super) fn put(&mut self, attempt: u32, logged: AttemptSteps) {
        let count = |steps: &Steps| steps.progressions.len() + steps.others.len();
        self.progressions += logged.steps.iter().map(count).sum::<usize>();
        self.later.insert(attempt, logged);
    }

    /// Note what an attempt logged. `id` is the id here of a metric there.
    pub(super) fn merge_attempt(
        &mut self,
        attempt: u32,
        other: &AttemptSteps,
        mut id: impl FnMut(u32) -> Option<u32>,
    ) {
        for (metric, steps) in (0..).zip(&other.steps) {
            let Some(metric) = id(metric) else { continue };
            if attempt > 1 && steps.others.is_empty() {
                for progression in &steps.progressions {
                    self.merge_progression(attempt, metric, *progression);
                }
            } else {
                steps.iter().for_each(|step| self.note(attempt, metric, step));
            }
        }
        other.epochs.iter().for_each(|&epoch| self.note_epoch(attempt, f64::from_bits(epoch)));
    }

    fn merge_progression(&mut self, attempt: u32, metric: u32, added: Progression) {
        self.note_later(attempt, metric, added.first);
        let steps = self.later.get_mut(&attempt).and_then(|it| it.steps.get_mut(metric as usize));
        match steps.and_then(|steps| steps.progressions.last_mut()) {
            // It was added as a progression of its own.
            Some(latest) if latest.first == added.first && latest.stride == 0 => *latest = added,
            _ => {
                let steps = Steps { progressions: vec![added], others: BTreeSet::new() };
                steps.iter().skip(1).for_each(|step| self.note(attempt, metric, step));
            }
        }
    }

    /// Whether an attempt that logs a metric at a step may repeat an earlier attempt. Of the first attempt the steps
    /// are not known, only the highest.
    #[inline]
    pub(super) fn may_repeat(&mut self, attempt: u32, metric: u32, step: u64) -> bool {
        if attempt <= 1 {
            return false;
        }
        let reaches = |highest: &[u64]| {
            highest.get(metric as usize).is_some_and(|&end| step < end || end == u64::MAX)
        };
        if self.before.0 != attempt {
            self.before = (attempt, self.highest_before(attempt));
        }
        reaches(&self.first)
            || (reaches(&self.before.1)
                && self.later.range(..attempt).any(|(_, steps)| steps.has(metric, step)))
    }

    /// Whether an attempt that summarizes an epoch may repeat an earlier attempt.
    pub(super) fn may_repeat_epoch(&self, attempt: u32, epoch: f64) -> bool {
        attempt > 1
            && (self.first_epoch.is_some_and(|highest| epoch <= highest)
                || self
                    .later
                    .range(..attempt)
                    .any(|(_, steps)| steps.epochs.contains(&bits(epoch))))
    }

    /// Whether an earlier attempt logged a metric at a step or a higher one.
    pub(super) fn may_reach(&self, attempt: u32, metric: u32, step: u64) -> bool {
        let reaches = |highest: &[u64]| highest.get(metric as usize).is_some_and(|&end| step < end);
        attempt > 1 && (reaches(&self.first) || reaches(&self.highest_before(attempt)))
    }

    fn highest_before(&self, attempt: u32) -> Vec<u64> {
        let mut all = Vec::new();
        for (_, attempt) in self.later.range(..attempt) {
            all.resize(attempt.steps.len().max(all.len()), 0);
            for (end, steps) in all.iter_mut().zip(&attempt.steps) {
                *end = steps.highest().map_or(*end, |highest| highest.saturating_add(1).max(*end));
            }
        }
        all
    }

    /// Whether there is a later attempt than this one.
    #[inline]
    pub(super) fn has_after(&self, attempt: u32) -> bool {
        self.later.last_key_value().is_some_and(|(&last, _)| last > attempt)
    }

    /// Whether a later attempt logged the metric at the step.
    pub(super) fn supersede(&self, attempt: u32, metric: u32, step: u64) -> bool {
        self.later.range(attempt.saturating_add(1)..).any(|(_, steps)| steps.has(metric, step))
    }

    /// Whether a later attempt summarized the epoch.
    pub(super) fn supersede_epoch(&self, attempt: u32, epoch: f64) -> bool {
        let mut after = self.later.range(attempt.saturating_add(1)..);
        after.any(|(_, steps)| steps.epochs.contains(&bits(epoch)))
    }
}

/// The bits of an epoch; equal epochs have the same.
fn bits(epoch: f64) -> u64 {
    // -0.0 + 0.0 is 0.0.
    (epoch + 0.0).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn steps_are_those_that_were_added(
            added in prop::collection::vec(prop_oneof![0_u64..40, (0_u64..9).prop_map(|n| n * 10), Just(u64::MAX)], 0..60),
        ) {
            let mut steps = Steps::default();
            added.iter().for_each(|&step| { steps.add(step); });
            let expected: BTreeSet<u64> = added.iter().copied().collect();
            prop_assert_eq!(steps.iter().collect::<BTreeSet<_>>(), expected.clone());
            prop_assert_eq!(steps.highest(), expected.last().copied());
            prop_assert_eq!(steps.lowest(), expected.first().copied());
            for step in (0..100).chain([u64::MAX - 1, u64::MAX]) {
                prop_assert_eq!(steps.contains(step), expected.contains(&step), "{}", step);
            }
            let mut numbers = steps.numbers();
            prop_assert_eq!(Steps::from_numbers(|| numbers.next()), Some(steps.clone()));
        }
    }

    #[test]
    fn regular_steps_take_one_progression() {
        let mut steps = Steps::default();
        assert_eq!((0..1_000_000).map(|step| steps.add(step * 10)).sum::<usize>(), 1);
    }
}
