//! Records on one line: JSON objects and Python dicts, in one reader, for Python's `json` prints NaN and its
//! `repr` prints single quotes, and both are what trainers print.

use std::borrow::Cow;

use super::found::Found;
use super::names::{self, MAX_NAME, Role};
use super::numbers;
use crate::value::Value;

/// Deeper nesting is no record of metrics, and the reader calls itself.
const MAX_DEPTH: u32 = 32;

/// Longer strings are no numbers.
const MAX_NUMBER: usize = 40;

/// Keys whose objects hold the metrics and give them no name of their own.
const ENVELOPES: [&str; 8] =
    ["metrics", "metric", "logs", "log", "data", "values", "scalars", "results"];

/// Keys of a structured log's sentence.
const SENTENCES: [&str; 4] = ["message", "msg", "event", "text"];

/// What a record holds.
#[derive(Default)]
pub(super) struct Record {
    /// The step, the epoch and every number.
    pub(super) found: Found,
    step_rank: u8,
    /// The record carries a sentence.
    has_sentence: bool,
    /// The record carries text that is no number.
    has_text: bool,
}

impl Record {
    /// Whether the record tells of training, and is neither a log's record nor a configuration.
    pub(super) fn is_metrics(&self) -> bool {
        let metrics = &self.found.metrics;
        let any = |test: fn(&str) -> bool| metrics.iter().any(|(name, _)| test(name));
        if metrics.iter().all(|(name, _)| names::is_bookkeeping(name)) {
            return false;
        }
        let speaks_of_training = any(names::is_metric);
        let marked = self.found.step.is_some() || self.found.epoch.is_some();
        if !speaks_of_training && (!marked || self.has_sentence) {
            return false;
        }
        // A configuration has a learning rate, often epochs, sometimes the weight of a loss.
        let settings = metrics.iter().filter(|(name, _)| names::is_setting(name)).count();
        let outcome = any(names::is_outcome);
        let set_up = settings > 0 && (!outcome || settings > 1 && !marked)
            || self.has_text && !outcome && !marked;
        self.found.step.is_some() || !set_up
    }
}

/// The record that is all of `text`, which begins with its brace.
pub(super) fn read(text: &str) -> Option<Record> {
    let mut reader =
        Reader { rest: text, path: String::new(), mute: 0, depth: 0, record: Record::default() };
    reader.dict()?;
    reader.spaces();
    reader.rest.is_empty().then_some(reader.record)
}

struct Reader<'a> {
    rest: &'a str,
    /// The keys around, joined with `/`.
    path: String,
    /// Within how many lists and calls: what is in these has no name.
    mute: u32,
    depth: u32,
    record: Record,
}

/// What a value was, for the key beside it.
enum Read<'a> {
    Number(Value),
    Text { text: Cow<'a, str>, single: bool },
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

    /// Reads what stands between an opening character and `close`, separated by commas.
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

    /// The value of a key that is text.
    fn entry(&mut self, key: &str) -> Option<()> {
        let before = self.path.len();
        // Longer paths make no names, and copying them for each value would take quadratic time.
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

    /// Takes the value of the current path.
    fn take(&mut self, value: Read<'_>, outermost: bool) {
        let role = names::key_role(&self.path);
        let value = match value {
            Read::Number(value) => value,
            Read::Text { text, single } => {
                self.record.has_sentence |= outermost && SENTENCES.contains(&self.path.as_str());
                // Newer versions of Hugging Face's Trainer print numbers as Python strings, and fairseq as
                // JSON strings. Other JSON strings that look like numbers are versions and the like.
                let is_number = text.len() <= MAX_NUMBER
                    && (single || role != Role::Other || names::is_metric(&self.path));
                match numbers::exact(&text) {
                    Some(value) if is_number => value,
                    _ => return self.record.has_text = true,
                }
            }
            Read::Other => return,
        };
        let record = &mut self.record;
        match role {
            Role::Step(rank) => {
                if let Some(step) = numbers::as_step(&value)
                    && rank > record.step_rank
                {
                    record.step_rank = rank;
                    record.found.step = Some(step);
                }
            }
            Role::Epoch => record.found.epoch = numbers::as_epoch(&value).or(record.found.epoch),
            Role::Other => {
                record.found.add(&self.path, value);
            }
        }
    }

    fn value(&mut self) -> Option<Read<'a>> {
        match self.rest.chars().next()? {
            '{' => self.dict()?,
            '[' | '(' => {
                let close = if self.rest.starts_with('[') { ']' } else { ')' };
                self.rest = &self.rest[1..];
                self.muted(|reader| reader.sequence(close, |reader| reader.value().map(drop)))?;
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

    /// `True`, `null`, or a call such as `tensor(2.3, device='cuda:0')`.
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
        let class = word.rsplit('.').next().unwrap_or(word);
        let is_scalar = positional == 1
            && (matches!(class, "tensor" | "array" | "Array" | "Decimal")
                || class.starts_with("float")
                || class.starts_with("int")
                || class.starts_with("uint")
                || class.starts_with("bfloat"));
        Some(first.filter(|_| is_scalar).map_or(Read::Other, Read::Number))
    }

    /// One argument of a call; none where it is named.
    fn argument(&mut self) -> Option<Option<Read<'a>>> {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let name = self.rest.find(|c| !is_part(c)).unwrap_or(0);
        if name > 0 && self.rest[name..].starts_with('=') {
            self.rest = &self.rest[name + 1..];
            // `torch.float32` and other constants.
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
                    // Halves of a pair name no character by themselves.
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
