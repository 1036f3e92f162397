//! Finds the metrics in one line of text.

use super::dict;
use super::pairs::{self, Reading};

/// A text longer than this before a record is prose, in bytes.
const MAX_PREFIX: usize = 256;

/// The metrics of a line, if it has any.
pub(super) fn read(text: &str) -> Option<Reading> {
    let text = text.trim();
    let reading = match record(text) {
        Some(reading) => reading?,
        None => pairs::read(text),
    };
    (!reading.found.metrics.is_empty()).then_some(reading)
}

/// The epoch of a line that has nothing else, such as `Epoch 1/5`, which Keras prints before its progress bars.
pub(super) fn announced_epoch(text: &str) -> Option<f64> {
    let text = text.trim();
    let begins = text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("epoch"));
    if !begins || text.len() > 40 {
        return None;
    }
    let found = pairs::read(text).found;
    found.epoch.filter(|_| found.metrics.is_empty() && found.step.is_none())
}

/// The record at the end of the line. None if there is no record; `Some(None)` if it does not count as metrics.
fn record(text: &str) -> Option<Option<Reading>> {
    if !text.ends_with('}') {
        return None;
    }
    let (prefix, text) = text.split_at(memchr::memchr(b'{', text.as_bytes())?);
    let mut record = dict::read(text)?;
    let prefix = prefix.trim();
    // A leftover progress bar: `10%|█ | 50/500 [00:05<00:45]{'loss': 0.2}`. Its position need not be the
    // record's step, because it may be the bar of an evaluation.
    let after_bar = prefix.ends_with(']') && prefix.contains("%|");
    if !prefix.is_empty() && !after_bar {
        if prefix.len() > MAX_PREFIX {
            return Some(None);
        }
        let before = pairs::read(prefix).found;
        let marked = before.step.is_some() || before.epoch.is_some();
        if !is_log_prefix(prefix, marked) {
            return Some(None);
        }
        record.found.step = record.found.step.or(before.step);
        record.found.epoch = record.found.epoch.or(before.epoch);
    }
    Some(record.is_metrics().then_some(Reading { found: record.found, bar: false }))
}

/// Whether a text is what logs print before a record (a time, a level, a logger's name, a process), or words
/// that announce metrics. `Config:` is neither.
fn is_log_prefix(prefix: &str, marked: bool) -> bool {
    const LEVELS: [&str; 7] = ["debug", "info", "warning", "warn", "error", "critical", "i"];
    const NAMES: [&str; 30] = [
        "root",
        "main",
        "train",
        "trainer",
        "training",
        "eval",
        "evaluation",
        "val",
        "valid",
        "validation",
        "test",
        "metrics",
        "metric",
        "results",
        "result",
        "logs",
        "log",
        "stats",
        "rank",
        "pid",
        "stdout",
        "stderr",
        "step",
        "epoch",
        "iter",
        "iteration",
        "global_step",
        "inner",
        "loss",
        "logger",
    ];
    const SETTINGS: [&str; 15] = [
        "config",
        "configuration",
        "args",
        "arguments",
        "params",
        "parameters",
        "hyperparameters",
        "hparams",
        "settings",
        "options",
        "namespace",
        "model",
        "kwargs",
        "from",
        "with",
    ];
    let lower = prefix.to_ascii_lowercase();
    let words = || {
        lower
            .split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '.'))
            .map(|word| word.trim_matches(['_', '.']))
            .filter(|word| !word.is_empty())
    };
    // With a level or a process id, up to two unknown words may be the name of a logger or an actor:
    // `(RayTrainWorker pid=1234)`.
    let has_level = lower.contains("pid=") || words().any(|word| LEVELS.contains(&word));
    let mut spare = if has_level || marked { 2 } else { 0 };
    words().all(|word| {
        if word.split(['_', '.']).any(|part| SETTINGS.contains(&part)) {
            return false;
        }
        let known = LEVELS.contains(&word)
            || NAMES.contains(&word)
            || word.contains(|c: char| c.is_ascii_digit())
            || word.contains(['_', '.']);
        if !known {
            spare -= 1;
        }
        known || spare >= 0
    })
}
