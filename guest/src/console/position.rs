//! Decides at which step of the run something was printed.
//!
//! A run has one training, and many things that count: its epochs, its batches, evaluations, downloads, the stages of a
//! preparation. The tracker knows the counters of the training by their words and totals. Only they move its position;
//! everything else is placed at the position.
//!
//! A counter within an epoch is turned into steps of the run: steps before the epoch + printed position. The steps before
//! an epoch are its number times its length if the counter prints its length (`9/18`), and otherwise those that were
//! counted until it began. So steps go on across epochs, also when a run is resumed in the middle.

use super::observation::{Count, Observation, Phase, PrintedStep};

/// Where an observation belongs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) step: u64,
    /// The line does not print the step.
    pub(super) inferred: bool,
    /// The printed position within the epoch, if that is not the step.
    pub(super) epoch_step: Option<u64>,
    pub(super) epoch: Option<f64>,
}

/// The counters of one training.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// The highest step of earlier attempts.
    last_step: Option<u64>,
    /// `Total optimization steps = 564`
    announced_total: Option<u64>,
    /// The step that the training printed last.
    position: Option<u64>,
    /// How many observations were numbered because nothing printed a step.
    counted: u64,
    /// The epoch that was printed last.
    epoch: Option<f64>,
    /// How many epochs the training has.
    epochs: Option<u64>,
    /// The training's counter.
    counter: Option<Counter>,
    /// An epoch was announced after the counter's last position.
    begins: bool,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    total: Option<u64>,
    done: u64,
    epoch: Option<u64>,
    /// The number of the first epoch: 0 or 1.
    first_epoch: u64,
    /// The steps before this epoch.
    base: u64,
    scope: Scope,
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Not known before the second epoch.
    Unknown,
    /// The steps of the run.
    Run,
    /// The steps of an epoch.
    Epoch,
}

impl Tracker {
    /// The tracker of a run whose earlier attempts reached `last_step`.
    pub(super) fn new(last_step: Option<u64>) -> Self {
        Self { last_step, counted: last_step.unwrap_or(0), ..Self::default() }
    }

    /// Whether a training has printed a step or an epoch.
    pub(super) fn is_training(&self) -> bool {
        self.position.is_some() || self.epoch.is_some()
    }

    /// The total of the training's counter.
    pub(super) fn total(&self) -> Option<u64> {
        self.announced_total.or_else(|| self.counter.and_then(|counter| counter.total))
    }

    /// The step at which the training ends, if it says so.
    pub(super) fn final_step(&self) -> Option<u64> {
        let reached = |step: &u64| self.position.is_some_and(|position| position <= *step);
        if let Some(total) = self.announced_total.filter(reached) {
            return Some(total);
        }
        let Counter { total, scope, epoch, .. } = self.counter?;
        match (scope, epoch, self.epochs) {
            (Scope::Run, ..) | (Scope::Unknown, None, _) => total,
            (_, _, Some(epochs)) => total?.checked_mul(epochs),
            // `step 290/700 | epoch: 0`: of the run, as far as is known.
            (Scope::Unknown, Some(_), None) => total,
            (Scope::Epoch, _, None) => None,
        }
        .filter(reached)
    }

    /// Takes the number of steps that a training says it will take.
    pub(super) fn announce_total(&mut self, total: u64) {
        self.announced_total = Some(total);
    }

    /// Takes an epoch that a line without metrics printed.
    pub(super) fn announce_epoch(&mut self, epoch: f64, total: Option<u64>) {
        self.epoch = Some(epoch);
        self.epochs = total.or(self.epochs);
        self.begins = true;
    }

    /// Whether an observation comes after the training's counter has reached its end, and counts to another one: Keras
    /// prints `313/313 - 0s - loss: 0.1` for an evaluation, without a word for it.
    pub(super) fn has_ended(&self, observation: &Observation) -> bool {
        let (Some(counter), Some(step)) = (self.counter, observation.step) else { return false };
        step.count == Count::Progress
            && observation.epoch.is_none()
            && !self.begins
            && counter.total == Some(counter.done)
            && step.total.is_some_and(|total| total < counter.done)
    }

    /// Whether a counter is the training's, and not that of something smaller beside it.
    fn is_own(&self, step: PrintedStep, epoch: Option<f64>) -> bool {
        if step.count == Count::Run || step.total.is_none() || step.total == self.announced_total {
            return true;
        }
        let Some(counter) = self.counter else { return true };
        let (Some(own), Some(total)) = (counter.total, step.total) else { return true };
        // A shorter counter beside one that has not reached its end; but epochs may differ in length.
        if step.count == Count::Marker && step.value > counter.done {
            return true;
        }
        let between = total < own
            && counter.done < own
            && (epoch.is_none() || epoch == counter.epoch.map(|e| e as f64));
        total == own || !between
    }

    /// Takes the position of the training's progress bar, which has no metrics.
    pub(super) fn advance(&mut self, step: PrintedStep, epoch: Option<f64>, is_certain: bool) {
        self.take_epoch(epoch);
        let epoch = epoch.or(self.epoch);
        // Without a description, the training's bar is the one whose total was announced, or the longest.
        let is_certain = is_certain || step.total == self.announced_total;
        let longest = self.counter.is_none_or(|counter| counter.total <= step.total);
        if (is_certain
            || longest && self.announced_total.is_none_or(|_| step.total == self.announced_total))
            && self.is_own(step, epoch)
        {
            self.count(step, epoch);
        }
    }

    /// Where an observation belongs. Moves the position, if it is of the training.
    pub(super) fn place(&mut self, observation: &Observation, by_epoch: bool) -> Place {
        if observation.phase == Phase::Training {
            self.epochs = observation.epoch_total.or(self.epochs);
        }
        let printed_epoch = observation.epoch;
        match observation.phase {
            Phase::Training => self.place_training(observation, printed_epoch, by_epoch),
            Phase::Evaluation(_) => {
                let epoch = printed_epoch.or(self.epoch);
                let printed = observation.step.filter(|step| {
                    // A ratio is the evaluation's own progress, and so is a count that starts again.
                    step.count == Count::Run
                        || step.count == Count::Marker
                            && step.total.is_none_or(|total| self.total() == Some(total))
                            && self.position.is_none_or(|position| step.value >= position)
                });
                match printed {
                    Some(step) => {
                        Place { step: step.value, inferred: false, epoch_step: None, epoch }
                    }
                    None => Place {
                        step: self.present(),
                        inferred: true,
                        epoch_step: self.epoch_step(),
                        epoch,
                    },
                }
            }
        }
    }

    fn place_training(
        &mut self,
        observation: &Observation,
        printed_epoch: Option<f64>,
        by_epoch: bool,
    ) -> Place {
        let epoch = printed_epoch.or(self.epoch.filter(|_| by_epoch));
        match observation.step {
            Some(step) if self.is_own(step, epoch) => {
                let (value, epoch_step) = self.count(step, epoch);
                self.take_epoch(printed_epoch);
                Place { step: value, inferred: false, epoch_step, epoch }
            }
            _ => {
                self.take_epoch(printed_epoch);
                let epoch = epoch.or(self.epoch);
                // Further values of the epoch.
                let continues =
                    observation.stands_alone && self.epoch.is_some() && self.counted > 0;
                let step = if continues { self.present() } else { self.next() };
                Place { step, inferred: true, epoch_step: self.epoch_step(), epoch }
            }
        }
    }

    /// Takes the epoch of a line for the lines after it. A part of an epoch, such as 0.53, is of its own line only.
    fn take_epoch(&mut self, epoch: Option<f64>) {
        self.epoch = epoch.filter(|epoch| epoch.fract() == 0.0).or(self.epoch);
    }

    /// The position within the epoch, if the training prints that.
    fn epoch_step(&self) -> Option<u64> {
        self.counter.filter(|counter| counter.scope == Scope::Epoch).map(|counter| counter.done)
    }

    /// The position; without one, the number of the last observation.
    fn present(&self) -> u64 {
        self.position.unwrap_or(self.counted)
    }

    /// The position; without one, the next number.
    fn next(&mut self) -> u64 {
        self.position.unwrap_or_else(|| {
            self.counted = self.counted.saturating_add(1);
            self.counted
        })
    }

    /// Moves the counter to a printed position; returns the step of the run, and the printed one if that differs in
    /// meaning.
    fn count(&mut self, step: PrintedStep, epoch: Option<f64>) -> (u64, Option<u64>) {
        if step.count == Count::Run {
            self.position = Some(step.value);
            return (step.value, None);
        }
        let whole_epoch = epoch.filter(|epoch| epoch.fract() == 0.0).map(|epoch| epoch as u64);
        let mut counter = match self.counter {
            Some(counter) if counter.total == step.total || counter.epoch != whole_epoch => counter,
            _ => self.begin(step, whole_epoch),
        };
        let next_epoch =
            whole_epoch.is_some() && whole_epoch > counter.epoch && counter.epoch.is_some();
        let repeats =
            whole_epoch.is_none() && step.total.is_some() && Some(counter.done) == step.total;
        if counter.scope == Scope::Unknown && next_epoch {
            // A count that goes on in the next epoch is the run's.
            counter.scope = if step.value > counter.done { Scope::Run } else { Scope::Epoch };
        }
        if repeats && step.value < counter.done && counter.scope != Scope::Run {
            // A bar that starts again after its end, without a word about epochs.
            counter.base = counter.base.saturating_add(counter.done);
            counter.scope = Scope::Epoch;
        }
        if counter.scope == Scope::Epoch && whole_epoch.is_some() && whole_epoch != counter.epoch {
            let counted = self.position.unwrap_or(0);
            counter.base = match (step.total, whole_epoch) {
                (Some(total), Some(epoch)) => {
                    let before = epoch.saturating_sub(counter.first_epoch).saturating_mul(total);
                    // The last epochs may be shorter.
                    if next_epoch { before.max(counted) } else { before }
                }
                // A count from 0 begins behind the last one.
                _ if next_epoch => counted.saturating_add(u64::from(step.value == 0)),
                _ => 0,
            };
        }
        self.begins = false;
        counter.total = step.total;
        counter.done = step.value;
        counter.epoch = whole_epoch.or(counter.epoch);
        self.counter = Some(counter);
        let value = if counter.scope == Scope::Run {
            step.value
        } else {
            counter.base.saturating_add(step.value)
        };
        self.position = Some(value);
        (value, (counter.scope == Scope::Epoch).then_some(step.value))
    }

    /// The counter that this position begins.
    fn begin(&self, step: PrintedStep, epoch: Option<u64>) -> Counter {
        let fresh = Counter {
            total: step.total,
            done: 0,
            epoch,
            first_epoch: u64::from(epoch != Some(0)),
            base: 0,
            scope: Scope::Unknown,
        };
        let (Some(total), Some(epoch)) = (step.total, epoch) else { return fresh };
        let Some(last) = self.last_step else {
            // The first epoch of a run is 0 or 1. A run that begins at another one continues a checkpoint.
            let base = epoch.saturating_sub(fresh.first_epoch).saturating_mul(total);
            let scope = if epoch > 1 { Scope::Epoch } else { Scope::Unknown };
            return Counter { base, scope, ..fresh };
        };
        if epoch > 1 && total > last {
            // More steps than all earlier epochs took together: the counter is the run's.
            return Counter { scope: Scope::Run, ..fresh };
        }
        // A resumed run begins at a step that an earlier attempt has reached.
        let first_epoch = u64::from(epoch.saturating_mul(total) > last);
        let base = epoch.saturating_sub(first_epoch).saturating_mul(total);
        Counter { first_epoch, base, scope: Scope::Epoch, ..fresh }
    }
}
