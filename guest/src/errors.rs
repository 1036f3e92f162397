//! Errors: all of them in errors.jsonl, the newest in memory, counts by type.

use std::collections::VecDeque;

use crate::imports::{Imports, RunFile};
use crate::json::{self, Reader, Token, unescape};
use crate::line_buffer::LineBuffer;
use crate::lines::Lines;
use crate::names::Names;
use crate::structured::{LARGEST_KEPT, LARGEST_RECORD};
use crate::timestamp::{self, Timestamps};
use crate::value::{Field, ValueRef, each, last_of_each};
use crate::{Error, Result};
use model_foundry_types::{ErrorEntry, ErrorReport, TypeCount};

/// How many types of error are counted by name. Errors of further types count as [`OTHER_TYPES`].
pub const MOST_TYPES: usize = 4096;

/// The name under which errors of further types are counted.
pub const OTHER_TYPES: &str = "(other types)";

/// How many bytes of recent errors stay in memory, whatever their number.
const RECENT_BYTES: usize = 16 << 20;

/// The bytes of an error's texts.
fn size(entry: &ErrorEntry) -> usize {
    entry.error_type.len() + entry.error_message.len() + entry.traceback.len() + entry.context.len()
}

/// Read a line of errors.jsonl.
///
/// # Errors
///
/// What is wrong with the line.
pub fn read_entry(line: &str) -> Result<ErrorEntry, json::Problem> {
    let mut entry = ErrorEntry { context: "{}".into(), ..ErrorEntry::default() };
    let mut object = Reader::object(line)?;
    let mut typed = false;
    while let Some((key, value)) = object.next()? {
        match (key, value) {
            ("timestamp", Token::Text(text)) => entry.timestamp = timestamp::parse(&unescape(text)),
            ("error_type", Token::Text(text)) => {
                entry.error_type = unescape(text).into_owned();
                typed = true;
            }
            ("error_message", Token::Text(text)) => {
                entry.error_message = unescape(text).into_owned();
            }
            ("traceback", Token::Text(text)) => entry.traceback = unescape(text).into_owned(),
            ("context", Token::Object(text)) => entry.context = text.to_owned(),
            ("rank", Token::Number(text)) => entry.rank = text.parse().ok(),
            _ => {}
        }
    }
    if typed { Ok(entry) } else { Err("error_type is missing") }
}

/// How often each type of error occurred.
#[derive(Clone, Debug)]
pub struct Counts {
    names: Names,
    counts: Vec<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { names: Names::at_most(MOST_TYPES), counts: Vec::new() }
    }
}

impl Counts {
    fn add(&mut self, error_type: &str) {
        let number = self.names.id_or_insert(error_type);
        // The last name that fits stands for all further ones.
        let full = self.names.len() >= MOST_TYPES - 1;
        let number = match number {
            Some(number) if !full || (number as usize) < self.counts.len() => Some(number),
            _ => self.names.id_or_insert(OTHER_TYPES),
        };
        let Some(number) = number.map(|number| number as usize) else { return };
        if self.counts.len() <= number {
            self.counts.resize(number + 1, 0);
        }
        self.counts[number] += 1;
    }

    /// Types with their counts, most frequent first, equal counts by name.
    pub fn most_frequent_first(&self) -> Vec<TypeCount> {
        let count = |(name, &count): (&str, &u64)| TypeCount { error_type: name.to_owned(), count };
        let mut all: Vec<_> = self.names.iter().zip(&self.counts).map(count).collect();
        all.retain(|known| known.count > 0);
        all.sort_by(|one, other| {
            other.count.cmp(&one.count).then_with(|| one.error_type.cmp(&other.error_type))
        });
        all
    }
}

/// The newest errors, bounded in number and in bytes.
#[derive(Clone, Debug)]
struct Recent {
    entries: VecDeque<ErrorEntry>,
    most: usize,
    bytes: usize,
}

impl Recent {
    fn at_most(most: usize) -> Self {
        Self { entries: VecDeque::new(), most, bytes: 0 }
    }

    fn push(&mut self, entry: ErrorEntry) {
        self.bytes += size(&entry);
        self.entries.push_back(entry);
        while self.entries.len() > self.most
            || (self.bytes > RECENT_BYTES && self.entries.len() > 1)
        {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= size(&oldest);
            }
        }
    }

    fn newest_first(&self, count: usize) -> Vec<ErrorEntry> {
        self.entries.iter().rev().take(count).cloned().collect()
    }
}

/// Records errors: all of them in errors.jsonl, the newest in memory.
pub struct ErrorTracker<I> {
    imports: I,
    rank: Option<u32>,
    counts: Counts,
    recent: Recent,
    timestamps: Timestamps,
    line: LineBuffer,
}

impl<I: Imports> ErrorTracker<I> {
    /// Open errors.jsonl to append to it. Counts include the errors that it holds.
    pub fn open(imports: &I, max_errors: u32, rank: Option<u32>) -> Result<Self> {
        let mut tracker = Self {
            imports: imports.clone(),
            rank,
            counts: Counts::default(),
            recent: Recent::at_most(max_errors as usize),
            timestamps: Timestamps::default(),
            line: LineBuffer::new(),
        };
        each_entry(imports, &mut |entry| {
            tracker.counts.add(&entry.error_type);
            tracker.recent.push(entry);
        })?;
        Ok(tracker)
    }

    /// Log one error. It is on the disk when this returns.
    pub fn log_error(
        &mut self,
        error_type: &str,
        error_message: &str,
        traceback: &str,
        context: &[Field],
    ) -> Result<()> {
        let now = self.imports.now();
        let mut context_json = LineBuffer::from("{");
        for (name, value) in last_of_each(each(context)) {
            if context_json.len() > 1 {
                context_json.push(',');
            }
            json::write_string(&mut context_json, name);
            context_json.push(':');
            match value {
                // A context has no `non_finite`: the number becomes its text.
                ValueRef::Float(float) if !float.is_finite() => json::write_string(
                    &mut context_json,
                    json::non_finite_name(float).unwrap_or_default(),
                ),
                value => json::write_value(&mut context_json, value),
            }
        }
        context_json.push('}');
        let line = &mut self.line;
        line.clear();
        line.push_str("{\"timestamp\":\"");
        self.timestamps.write(line, now);
        line.push_str("\",\"error_type\":");
        json::write_string(line, error_type);
        line.push_str(",\"error_message\":");
        json::write_string(line, error_message);
        line.push_str(",\"traceback\":");
        json::write_string(line, traceback);
        line.push_str(",\"context\":");
        line.push_str(&context_json);
        if let Some(rank) = self.rank {
            line.push_str(",\"rank\":");
            json::write_integer(line, rank);
        }
        line.push_str("}\n");
        if line.len() > LARGEST_RECORD {
            return Err(Error::TooLarge(format!(
                "an error of {} MiB is too large: at most 16 MiB",
                line.len() >> 20
            )));
        }
        self.counts.add(error_type);
        self.recent.push(ErrorEntry {
            timestamp: Some(now),
            error_type: error_type.to_owned(),
            error_message: error_message.to_owned(),
            traceback: traceback.to_owned(),
            context: context_json.into(),
            rank: self.rank,
        });
        let kept = self.imports.append(RunFile::ERRORS, line, true);
        line.clear_to(LARGEST_KEPT);
        kept?;
        Ok(())
    }

    /// Counts by type, most frequent first.
    pub fn summary(&self) -> Vec<TypeCount> {
        self.counts.most_frequent_first()
    }

    /// The newest errors in memory, newest first.
    pub fn recent(&self, count: usize) -> Vec<ErrorEntry> {
        self.recent.newest_first(count)
    }

    /// Set every count to 0.
    pub fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }
}

/// Read errors.jsonl of all ranks, with the newest `count` errors.
///
/// # Errors
///
/// [`Error::Storage`] if the file cannot be read.
pub fn read_report<I: Imports>(imports: &I, count: usize) -> Result<ErrorReport> {
    let time = |entry: &ErrorEntry| entry.timestamp.unwrap_or(u64::MAX);
    let newest_first = |entries: &mut Vec<ErrorEntry>| {
        entries.sort_by_key(|entry| std::cmp::Reverse(time(entry)));
        entries.truncate(count);
    };
    let mut counts = Counts::default();
    let mut first: Option<ErrorEntry> = None;
    let mut recent = Vec::new();
    let damaged_lines = each_entry(imports, &mut |entry| {
        counts.add(&entry.error_type);
        if first.as_ref().is_none_or(|first| time(&entry) < time(first)) {
            first = Some(entry.clone());
        }
        recent.push(entry);
        // Sorting now and then bounds the entries in memory to twice those asked for.
        if recent.len() > 2 * count.max(32) {
            newest_first(&mut recent);
        }
    })?;
    recent.reverse();
    newest_first(&mut recent);
    let counts = counts.most_frequent_first();
    Ok(ErrorReport { counts, first, recent, damaged_lines })
}

/// Visit the good lines of errors.jsonl; returns how many are damaged.
fn each_entry<I: Imports>(imports: &I, visit: &mut dyn FnMut(ErrorEntry)) -> Result<u64> {
    let mut damaged = 0;
    for part in imports.parts(RunFile::ERRORS)? {
        let mut lines = Lines::open(imports, RunFile::ERRORS, part)?;
        while let Some(line) = lines.next()? {
            match line.read(read_entry) {
                Ok(found) => {
                    damaged += u64::from(found.fragment.is_some());
                    visit(found.record);
                }
                Err(_) => damaged += 1,
            }
        }
    }
    Ok(damaged)
}
