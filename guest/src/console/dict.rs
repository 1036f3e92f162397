//! Reads records on one line: JSON objects and Python dicts. Trainers print both, so one reader accepts the NaN
//! of Python's `json` module and the single quotes of its `repr`.

use std::borrow::Cow;

use super::names::{self, MAX_NAME, Role};
use super::numbers;
use super::observation::Metrics;
use super::tokens;
use crate::value::Value;

/// How deep a record of metrics may nest. The reader is recursive.
const MAX_DEPTH: u32 = 32;

/// The longest string that can be a number, in bytes.
const MAX_NUMBER: usize = 40;

/// The most elements of a list of numbers that becomes metrics.
const MAX_LIST: usize = 16;

/// Keys whose objects contain the metrics, and do not become part of their names.
const ENVELOPES: [&str; 8] =
    ["metrics", "metric", "logs", "log", "data", "values", "scalars", "results"];

/// Keys of the message in a structured log record.
const MESSAGES: [&str; 4] = ["message", "msg", "event", "text"];

/// A parsed record.
#[derive(Default)]
pub(super) struct Record {
    /// The step, with the rank of its name.
    pub(super) step: Option<(u8, u64)>,
    pub(super) epoch: Option<f64>,
    /// Every other number.
    pub(super) metrics: Metrics,
    /// Counts whose words also mean other things: metrics, unless one of them is the step.
    others: Vec<(String, Value)>,
    /// Whether the record has a log message.
    has_message: bool,
    /// Whether the record has text that is not a number.
    has_text: bool,
}

impl Record {
    fn take_step(&mut self, rank: u8, step: u64) {
        if self.step.is_none_or(|(taken, _)| rank > taken) {
            self.step = Some((rank, step));
        }
    }

    /// Whether the record is about training, and not another log record or a configuration.
    pub(super) fn is_metrics(&self) -> bool {
        let metrics = &self.metrics;
        if metrics.iter().all(|field| names::is_bookkeeping(&field.name)) {
            return false;
        }
        let has_metric = metrics.any(names::is_metric);
        let has_step = self.step.is_some_and(|(rank, _)| rank >= names::SURE || has_metric);
        let marked = has_step || self.epoch.is_some();
        if !has_metric && (!marked || self.has_message) {
            return false;
        }
        // A configuration has a learning rate, often epochs, sometimes the weight of a loss.
        let (outcome, settings) = metrics.outcome_and_settings();
        let is_configuration = settings > 0 && (!outcome || settings > 1 && !marked)
            || self.has_text && !outcome && !has_step
            || self.has_text && !has_metric && !has_step;
        !is_configuration || has_step && settings == 0
    }
}

/// Reads the record at the start of the text, which must begin with a brace; returns the rest too.
pub(super) fn read_first(text: &str) -> Option<(Record, &str)> {
    let mut reader =
        Reader { rest: text, path: String::new(), mute: 0, depth: 0, record: Record::default() };
    reader.dict()?;
    let mut record = reader.record;
    for (name, value) in std::mem::take(&mut record.others) {
        if record.step.map(|(_, step)| step) != numbers::as_step(&value) {
            record.metrics.add(&name, value);
        }
    }
    Some((record, reader.rest))
}

struct Reader<'a> {
    rest: &'a str,
    /// The enclosing keys, joined with `/`.
    path: String,
    /// How many lists and calls enclose the position. Values inside them have no name.
    mute: u32,
    depth: u32,
    record: Record,
}

/// A value, as far as its key needs to know.
enum Read<'a> {
    Number(Value),
    Text {
        text: Cow<'a, str>,
        single: bool,
    },
    /// A list of numbers and nothing else.
    List(Vec<Value>),
    Other,
}

impl<'a> Reader<'a> {
    fn spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Takes the character if it is the next one.
    fn takes(&mut self, expected: char) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Reads entries separated by commas up to `close`. The opening character was already read.
    fn sequence(
        &mut self,
        close: char,
        mut entry: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        loop {
            self.spaces();
            if self.takes(close) {
                break;
            }
            entry(self)?;
            self.spaces();
            if !self.takes(',') && !self.rest.starts_with(close) {
                return None;
            }
        }
        self.depth -= 1;
        Some(())
    }

    fn dict(&mut self) -> Option<()> {
        if !self.takes('{') {
            return None;
        }
        self.sequence('}', |reader| {
            let key = match reader.value()? {
                Read::Text { text, .. } => Some(text),
                _ => None,
            };
            reader.spaces();
            if !reader.takes(':') {
                return None;
            }
            reader.spaces();
            match key {
                Some(key) => reader.entry(&key),
                None => reader.muted(Self::value).map(drop),
            }
        })
    }

    fn muted<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.mute += 1;
        let read = read(self)?;
        self.mute -= 1;
        Some(read)
    }

    /// Reads the value of a key that is text.
    fn entry(&mut self, key: &str) -> Option<()> {
        let before = self.path.len();
        // A longer path cannot be a name, and copying it for each value would take quadratic time.
        let named = before + key.len() <= MAX_NAME;
        let envelope = self.rest.starts_with('{') && ENVELOPES.contains(&key);
        if !named {
            return self.muted(Self::value).map(drop);
        }
        if !envelope {
            if before > 0 {
                self.path.push('/');
            }
            self.path.push_str(key);
        }
        let value = self.value()?;
        if self.mute == 0 {
            self.take(value, before == 0);
        }
        self.path.truncate(before);
        Some(())
    }

    /// Records the value of the current path.
    fn take(&mut self, value: Read<'_>, outermost: bool) {
        let role = names::key_role(&self.path);
        let value = match value {
            Read::Number(value) => value,
            Read::Text { text, single } => {
                self.record.has_message |= outermost && MESSAGES.contains(&self.path.as_str());
                // Newer versions of Hugging Face's Trainer print numbers as Python strings, and fairseq prints
                // them as JSON strings. Any other JSON string that looks like a number may be a version.
                let is_number = text.len() <= MAX_NUMBER
                    && (single || role != Role::Other || names::is_metric(&self.path));
                if let Role::Step(rank) = role
                    && let Some(ratio) = tokens::ratio(&text)
                {
                    // `'global_step/max_steps': '12/94'`
                    return self.record.take_step(rank, ratio.done);
                }
                match numbers::exact(&text) {
                    Some(value) if is_number => value,
                    _ => return self.record.has_text = true,
                }
            }
            Read::List(values) => {
                if role == Role::Other {
                    for (index, value) in values.into_iter().enumerate() {
                        self.record.metrics.add(&format!("{}_{index}", self.path), value);
                    }
                }
                return;
            }
            Read::Other => return,
        };
        let record = &mut self.record;
        match role {
            Role::Step(rank) => {
                if let Some(step) = numbers::as_step(&value) {
                    record.take_step(rank, step);
                }
                if rank < names::SURE && record.others.len() < MAX_LIST {
                    record.others.push((self.path.clone(), value));
                }
            }
            Role::Epoch => record.epoch = numbers::as_epoch(&value).or(record.epoch),
            Role::Other => {
                record.metrics.add(&self.path, value);
            }
        }
    }

    fn value(&mut self) -> Option<Read<'a>> {
        match self.rest.chars().next()? {
            '{' => self.dict()?,
            '[' | '(' => {
                let close = if self.rest.starts_with('[') { ']' } else { ')' };
                self.rest = &self.rest[1..];
                let mut values = Vec::new();
                let mut others = 0_usize;
                self.muted(|reader| {
                    reader.sequence(close, |reader| {
                        match reader.value()? {
                            Read::Number(value) if values.len() < MAX_LIST => values.push(value),
                            _ => others += 1,
                        }
                        Some(())
                    })
                })?;
                if others == 0 && !values.is_empty() {
                    return Some(Read::List(values));
                }
            }
            '"' => return self.string('"'),
            '\'' => return self.string('\''),
            // `<NllLossBackward0>`, `<Stage.TRAIN: 1>`
            '<' => self.rest = &self.rest[memchr::memchr(b'>', self.rest.as_bytes())? + 1..],
            _ => {
                if let Some((value, rest)) = numbers::leading(self.rest) {
                    self.rest = rest;
                    return Some(Read::Number(value));
                }
                return self.word();
            }
        }
        Some(Read::Other)
    }

    /// Reads `True`, `null` or another constant, or a call such as `tensor(2.3, device='cuda:0')`.
    fn word(&mut self) -> Option<Read<'a>> {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let (word, rest) = self.rest.split_at(self.rest.find(|c| !is_part(c))?);
        self.rest = rest;
        if word.is_empty() {
            return None;
        }
        if !self.takes('(') {
            return matches!(word, "True" | "False" | "None" | "true" | "false" | "null")
                .then_some(Read::Other);
        }
        let mut first = None;
        let mut positional = 0_u32;
        self.muted(|reader| {
            reader.sequence(')', |reader| {
                if let Some(value) = reader.argument()? {
                    positional += 1;
                    if let Read::Number(number) = value {
                        first = first.take().or(Some(number));
                    }
                }
                Some(())
            })
        })?;
        let is_scalar = positional == 1 && names::is_number_class(word);
        Some(first.filter(|_| is_scalar).map_or(Read::Other, Read::Number))
    }

    /// Reads one argument of a call; `Some(None)` if it is a keyword argument.
    fn argument(&mut self) -> Option<Option<Read<'a>>> {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let name = self.rest.find(|c| !is_part(c)).unwrap_or(0);
        if name > 0 && self.rest[name..].starts_with('=') {
            self.rest = &self.rest[name + 1..];
            // `dtype=torch.float32`: `value` has read the constant, but does not accept it as a value.
            return match self.value() {
                Some(_) => Some(None),
                None => self.rest.starts_with([',', ')']).then_some(None),
            };
        }
        self.value().map(Some)
    }

    fn string(&mut self, quote: char) -> Option<Read<'a>> {
        let body = &self.rest[1..];
        let single = quote == '\'';
        let mut end = memchr::memchr2(quote as u8, b'\\', body.as_bytes())?;
        if body.as_bytes()[end] == quote as u8 {
            self.rest = &body[end + 1..];
            return Some(Read::Text { text: Cow::Borrowed(&body[..end]), single });
        }
        let mut text = String::new();
        let mut start = 0;
        loop {
            text.push_str(&body[start..end]);
            if body.as_bytes()[end] == quote as u8 {
                self.rest = &body[end + 1..];
                return Some(Read::Text { text: Cow::Owned(text), single });
            }
            let escaped = body[end + 1..].chars().next()?;
            start = end + 1 + escaped.len_utf8();
            match escaped {
                'u' => {
                    let code = body.get(start..start + 4)?;
                    let code = u32::from_str_radix(code, 16).ok()?;
                    // Half of a surrogate pair is not a character.
                    text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    start += 4;
                }
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                other => text.push(other),
            }
            end = start + memchr::memchr2(quote as u8, b'\\', &body.as_bytes()[start..])?;
        }
    }
}
