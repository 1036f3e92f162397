//! Recognizes records: JSON objects and Python dicts, behind any prefix, several on a line, or one over several lines.
//!
//! A record is metrics if it names a training metric, or a step and numbers. Configurations, other log records and
//! sentences with a dict in them are not: see [`dict::Record::is_metrics`] and [`is_log_prefix`].

use super::dict;
use super::observation::{Observation, Phase, PrintedStep};
use super::pairs;
use super::phase;

/// A text longer than this before a record is prose, in bytes.
const MAX_PREFIX: usize = 256;

/// The most records on one line.
const MAX_RECORDS: usize = 64;

/// The most lines of a record over several lines.
const MAX_LINES: usize = 400;

/// The most bytes of a record over several lines.
const MAX_BYTES: usize = 64 << 10;

/// The records of a line. None if there is none; an error says why a record is no metrics.
pub(super) fn read(
    text: &str,
    phase: Option<Phase>,
) -> Option<Result<Vec<Observation>, &'static str>> {
    let open = memchr::memchr(b'{', text.as_bytes())?;
    let (prefix, mut rest) = text.split_at(open);
    let mut records = Vec::new();
    while rest.starts_with('{') && records.len() < MAX_RECORDS {
        let (record, after) = dict::read_first(rest)?;
        records.push(record);
        rest = after.trim_start_matches([' ', ',', ';', '\t']);
    }
    // `{…}, time=3s`: pairs behind a record. Anything else behind it makes it a sentence.
    let behind = pairs::read(rest);
    let says_nothing = behind.pairs.is_empty() && behind.step.is_none() && behind.epoch.is_none();
    if !rest.is_empty() && (says_nothing || behind.leftover > 0) {
        return None;
    }
    let prefix = prefix.trim();
    let before = pairs::read(prefix);
    if !prefix.is_empty() {
        if prefix.len() > MAX_PREFIX {
            return Some(Err("a long text comes before the record"));
        }
        let marked = before.step.is_some() || before.epoch.is_some();
        if !is_log_prefix(prefix, marked) {
            return Some(Err(
                "the text before the record is neither a log's prefix nor an announcement",
            ));
        }
    }
    let found_phase =
        phase.or(before.phase).or_else(|| phase::of_words(prefix)).unwrap_or_default();
    let mut observations = Vec::new();
    for record in records {
        if !record.is_metrics() {
            continue;
        }
        let step = record.step.map(|(rank, value)| PrintedStep::of_rank(rank, value, None));
        observations.push(Observation {
            phase: found_phase,
            step: step
                .or_else(|| before.printed_step())
                .or(before.step_of_any_word())
                .or(behind.step_of_any_word()),
            epoch: record.epoch.or(before.epoch).or(behind.epoch),
            epoch_total: before.epoch_total,
            metrics: record.metrics,
            ..Observation::default()
        });
    }
    if observations.is_empty() {
        return Some(Err("the record has no training metric, or it is a configuration"));
    }
    if let Some(last) = observations.last_mut() {
        for pair in behind.pairs {
            last.metrics.add(&pair.name, pair.value);
        }
    }
    Some(Ok(observations))
}

/// A record that began on an earlier line: pretty-printed JSON, a long dict.
#[derive(Default)]
pub(super) struct Open {
    text: String,
    lines: Vec<String>,
    depth: i32,
}

/// What became of an open record.
pub(super) enum Next {
    /// The line belongs to it.
    Continues,
    /// It is complete, as one line.
    Complete(String),
    /// It is no record. These lines were held back.
    Broken(Vec<String>),
}

impl Open {
    /// Begins a record at a line that opens more braces than it closes: `{` alone, or `{'loss': 0.5,`.
    pub(super) fn begin(text: &str) -> Option<Self> {
        let open = memchr::memchr(b'{', text.as_bytes())?;
        let inside = text[open + 1..].trim_start();
        let begins = inside.is_empty() && open == 0
            || inside.starts_with(['"', '\'']) && text.trim_end().ends_with([',', '{', '[']);
        if !begins || text.len() > MAX_BYTES {
            return None;
        }
        let mut record = Self::default();
        record.add(text);
        (record.depth > 0).then_some(record)
    }

    /// Adds a line. `body` is the line without its prefix.
    pub(super) fn line(&mut self, body: &str) -> Next {
        let fits = body.starts_with(['"', '\'', '}', ']', '{', '[', '(', ')'])
            || body
                .starts_with(|c| matches!(c, '0'..='9' | '-' | 'N' | 'n' | 'T' | 't' | 'F' | 'f'))
                && body.ends_with([',', ']', '}', ')']);
        if !fits || self.lines.len() == MAX_LINES || self.text.len() + body.len() > MAX_BYTES {
            return Next::Broken(std::mem::take(&mut self.lines));
        }
        self.add(body);
        match self.depth {
            1.. => Next::Continues,
            _ => Next::Complete(std::mem::take(&mut self.text)),
        }
    }

    /// The lines that were held back.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines
    }

    fn add(&mut self, line: &str) {
        // Braces inside of strings are rare in records of metrics, and make this one no record.
        for byte in line.bytes() {
            match byte {
                b'{' => self.depth += 1,
                b'}' => self.depth -= 1,
                _ => {}
            }
        }
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(line);
        self.lines.push(line.to_owned());
    }
}

/// Whether a text is what logs print before a record (a time, a level, a logger's name, a process), or words
/// that announce metrics. `Config:` is neither.
fn is_log_prefix(prefix: &str, marked: bool) -> bool {
    const LEVELS: [&str; 7] = ["debug", "info", "warning", "warn", "error", "critical", "i"];
    const NAMES: [&str; 33] = [
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
        "f",
        "x",
        "python",
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
    let lower = prefix.to_lowercase();
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
