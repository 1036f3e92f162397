//! One line of metrics.jsonl, read.

use std::ops::Deref;

use crate::json::{Object, Problem, Reader, Token, unescape};
use crate::timestamp;
use crate::value::{Field, Value};
use model_foundry_types::Row;

/// What an entry is about, and the attempt that logged it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EntryKey {
    /// The step; none for a summary.
    pub step: Option<u64>,
    /// The epoch, where there is one.
    pub epoch: Option<f64>,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// A line of metrics.jsonl: a step's metrics or an epoch's summary. The parts are slices of
/// the line, escapes included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry<'a> {
    /// RFC 3339.
    pub timestamp: &'a str,
    /// What it is about.
    pub key: EntryKey,
    /// Whether the step was inferred: the trainer did not print it.
    pub step_inferred: bool,
    /// The rank of the process that logged it, if there were several.
    pub rank: Option<u32>,
    /// The position within the epoch that the trainer printed.
    pub epoch_step: Option<u64>,
    metrics: &'a str,
    non_finite: Option<&'a str>,
}

impl Deref for Entry<'_> {
    type Target = EntryKey;

    fn deref(&self) -> &EntryKey {
        &self.key
    }
}

impl<'a> Entry<'a> {
    /// Read a line, or say what is wrong with it.
    pub fn read(line: &'a str) -> Result<Self, Problem> {
        let mut entry = Self::default();
        let mut entry_key = EntryKey { attempt: 1, ..EntryKey::default() };
        let mut object = Reader::object(line)?;
        let (mut metrics, mut summary) = (None, None);
        while let Some((key, value)) = object.next()? {
            match (key, value) {
                ("timestamp", Token::Text(text)) => entry.timestamp = text,
                ("step", Token::Number(text)) => {
                    entry_key.step =
                        Some(text.parse().map_err(|_| "the step must be a non-negative integer")?);
                }
                ("epoch", Token::Number(text)) => entry_key.epoch = text.parse().ok(),
                ("epoch", Token::Null) => {}
                ("attempt", Token::Number(text)) => {
                    entry_key.attempt =
                        text.parse().map_err(|_| "the attempt must be a positive integer")?;
                }
                ("rank", Token::Number(text)) => entry.rank = text.parse().ok(),
                ("step_inferred", Token::Boolean(inferred)) => entry.step_inferred = inferred,
                ("epoch_step", Token::Number(text)) => entry.epoch_step = text.parse().ok(),
                ("metrics", Token::Object(text)) => metrics = Some(text),
                ("summary", Token::Object(text)) => summary = Some(text),
                ("non_finite", Token::Object(text)) => entry.non_finite = Some(text),
                ("timestamp" | "step" | "epoch" | "attempt" | "metrics" | "summary", _) => {
                    return Err("a field has the wrong type");
                }
                _ => {}
            }
        }
        entry.key = entry_key;
        match (entry.step, metrics, summary) {
            (Some(_), Some(metrics), None) => entry.metrics = metrics,
            (None, None, Some(summary)) => entry.metrics = summary,
            _ => return Err("neither a step with metrics nor a summary"),
        }
        Ok(entry)
    }

    /// Pass each of the metrics, or of the summary's values, to the callback: its name as written, escapes included,
    /// and its number. A null for which `non_finite` has the value is NaN or an infinity; any other null, text and
    /// nested values have no number.
    pub fn members(&self, each: &mut dyn FnMut(&'a str, Option<f64>)) -> Result<(), Problem> {
        let mut object = Reader::object(self.metrics)?;
        while let Some((name, value)) = object.next()? {
            let number = match value {
                Token::Number(text) => Some(text.parse().map_err(|_| "a number is not valid")?),
                Token::Null => self.non_finite(name)?,
                _ => None,
            };
            each(name, number);
        }
        Ok(())
    }

    /// The entry's line without some of its metrics, which are given as they are written. `line` is the text that
    /// the entry was read from.
    pub fn without(&self, line: &str, names: &[&str]) -> String {
        let mut rest = line.to_owned();
        // The later slice first, so that the position of the other one stays right.
        let mut objects: Vec<&str> = self.non_finite.into_iter().chain([self.metrics]).collect();
        objects.sort_by_key(|object| std::cmp::Reverse(object.as_ptr()));
        for object in objects {
            let at = object.as_ptr() as usize - line.as_ptr() as usize;
            rest.replace_range(at..at + object.len(), &without(object, names));
        }
        rest
    }

    /// The entry as a typed row.
    pub fn row(&self) -> Result<Row, Problem> {
        let mut values = Vec::new();
        let mut object = Reader::object(self.metrics)?;
        while let Some((name, value)) = object.next()? {
            let value = match value {
                Token::Null => self.non_finite(name)?.map_or(Value::Null, Value::Float),
                Token::Boolean(boolean) => Value::Boolean(boolean),
                Token::Number(text) => match text.parse() {
                    Ok(integer) => Value::Integer(integer),
                    Err(_) if text.contains(['.', 'e', 'E']) => {
                        Value::Float(text.parse().map_err(|_| "a number is not valid")?)
                    }
                    // An integer beyond 64 bits keeps its digits.
                    Err(_) => Value::Json(text.to_owned()),
                },
                Token::Text(text) => Value::Text(unescape(text).into_owned()),
                Token::Object(text) | Token::Array(text) => Value::Json(text.to_owned()),
            };
            values.push(Field { name: unescape(name).into_owned(), value });
        }
        Ok(Row {
            timestamp: timestamp::parse(self.timestamp),
            step: self.step,
            epoch: self.epoch,
            attempt: self.attempt,
            rank: self.rank,
            step_inferred: self.step_inferred,
            epoch_step: self.epoch_step,
            values,
        })
    }

    fn non_finite(&self, name: &str) -> Result<Option<f64>, Problem> {
        let Some(text) = self.non_finite else { return Ok(None) };
        let mut object: Object<'_> = Reader::object(text)?;
        while let Some((key, value)) = object.next()? {
            if key == name {
                return Ok(match value {
                    Token::Text("NaN") => Some(f64::NAN),
                    Token::Text("inf" | "Infinity") => Some(f64::INFINITY),
                    Token::Text("-inf" | "-Infinity") => Some(f64::NEG_INFINITY),
                    _ => None,
                });
            }
        }
        Ok(None)
    }
}

/// A JSON object without some of its members, which are given by their keys as they are written.
fn without(object: &str, keys: &[&str]) -> String {
    let mut left = String::from("{");
    let Ok(mut members) = Reader::object(object) else { return object.to_owned() };
    while let Ok(Some((key, value))) = members.next() {
        if keys.contains(&key) {
            continue;
        }
        if left.len() > 1 {
            left.push(',');
        }
        left.push('"');
        left.push_str(key);
        left.push_str("\":");
        match value {
            Token::Null => left.push_str("null"),
            Token::Boolean(boolean) => left.push_str(if boolean { "true" } else { "false" }),
            Token::Text(text) => {
                left.push('"');
                left.push_str(text);
                left.push('"');
            }
            Token::Number(text) | Token::Object(text) | Token::Array(text) => left.push_str(text),
        }
    }
    left.push('}');
    left
}
