//! Recognizes blocks: the step or the epoch on one line, and `name: value` on each of the next ones (rsl_rl, nnU-Net,
//! Coqui, Composer).
//!
//! A block counts only if one of its values is a training result, so a configuration that begins with an epoch is none.

use super::names::{self, Role};
use super::numbers;
use super::observation::{Observation, Phase, PrintedStep};
use super::pairs;
use super::phase;
use super::table;

/// The most values of a listing.
const MAX_VALUES: u32 = 400;

/// The most lines of a block without a value in a row.
const MAX_OTHERS: u32 = 3;

/// A block that is being read.
#[derive(Debug, Default)]
pub(super) struct Block {
    observation: Observation,
    listing: bool,
    others: u32,
    texts: u32,
    values: u32,
}

/// What a line is to an open block.
#[derive(Debug, PartialEq)]
pub(super) enum Inside {
    Value,
    /// A rule, a blank line, or another line that may come between values.
    Other,
    /// It does not belong to the block.
    Outside,
}

impl Block {
    /// The block of a line that says where the training is.
    pub(super) fn begin(phase: Phase, step: Option<PrintedStep>, epoch: Option<f64>) -> Self {
        let observation = Observation { phase, step, epoch, ..Observation::default() };
        Self { observation, ..Self::default() }
    }

    /// The block below `Result for PPO_CartPole:`, as RLlib prints it: any keys and values, the step among them.
    pub(super) fn listing() -> Self {
        Self { listing: true, ..Self::default() }
    }

    /// Whether a line is the heading of a listing.
    pub(super) fn heads_listing(text: &str) -> bool {
        (text.starts_with("Result for ") || text.starts_with("Results for ")) && text.ends_with(':')
    }

    /// The phase that a heading announces: `--> EVAL PERFORMANCE`, `Validation results:`.
    pub(super) fn heading(text: &str) -> Option<Phase> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let text = text.trim();
        // `trainer_type: ppo` is a setting.
        let has_value = |text: &str| text.trim_end_matches(':').contains([':', '=']);
        if text.len() > 48
            || has_value(text)
            || text.bytes().any(|byte| byte.is_ascii_digit())
            || words.clone().count() > 4
        {
            return None;
        }
        phase::of_words(text)
    }

    /// Takes a line, without its prefix; `indented` if it began with spaces.
    pub(super) fn line(&mut self, text: &str, indented: bool) -> Inside {
        let words = text.trim();
        if self.listing {
            return self.list(words, indented);
        }
        if words.is_empty() || table::is_rule(words) {
            return self.other();
        }
        if words.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '[' | '(' | '{')) {
            return Inside::Outside;
        }
        let bullet = words.trim_start_matches(['|', '>', '-', '*', '•', '│', ' ']);
        let bulleted = bullet.len() < words.len();
        let reading = pairs::read(bullet);
        let own = reading.step.is_some() || reading.epoch.is_some() || reading.progress.is_some();
        let evaluates = matches!(reading.phase_of_names(), Some(Phase::Evaluation(_)));
        if own || evaluates && reading.pairs.len() > 1 && self.observation.phase == Phase::Training
        {
            return Inside::Outside;
        }
        let is_value = (1..=4).contains(&reading.pairs.len())
            && reading.leftover == 0
            && reading.texts == 0
            && !reading.settings
            && (indented || bulleted || self.values > 0 || reading.classes().metric);
        if !is_value {
            // `ETA: 00:37:09`
            let short = bullet.len() <= 64 && bullet.contains(':') && self.values > 0;
            self.texts += 1;
            return if short { self.other() } else { Inside::Outside };
        }
        // A name again: the next values, without a line that says where the training is.
        if reading.pairs.iter().any(|pair| self.observation.metrics.has(&pair.name)) {
            return Inside::Outside;
        }
        for pair in reading.pairs {
            self.observation.metrics.add(&pair.name, pair.value);
        }
        self.values += 1;
        self.others = 0;
        Inside::Value
    }

    fn list(&mut self, text: &str, indented: bool) -> Inside {
        let Some((key, value)) = text.split_once(':').filter(|_| indented) else {
            return Inside::Outside;
        };
        if let Some(value) = numbers::exact(value.trim()) {
            match names::key_role(key) {
                Role::Step(_) => {
                    self.observation.step = numbers::as_step(&value).map(PrintedStep::marker);
                }
                Role::Epoch => self.observation.epoch = numbers::as_epoch(&value),
                Role::Other => {
                    self.observation.metrics.add(key, value);
                }
            }
        }
        self.values += 1;
        if self.values > MAX_VALUES { Inside::Outside } else { Inside::Value }
    }

    fn other(&mut self) -> Inside {
        self.others += 1;
        if self.others > MAX_OTHERS { Inside::Outside } else { Inside::Other }
    }

    /// Whether no value was read yet.
    pub(super) fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// What the block says, if it is about a training.
    pub(super) fn finish(self) -> Option<Observation> {
        let metrics = &self.observation.metrics;
        let (outcome, settings) = metrics.outcome_and_settings();
        (outcome && settings < 2 && self.texts <= self.values).then_some(self.observation)
    }
}
