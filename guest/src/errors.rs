//! Errors: all of them in errors.jsonl, the newest in memory, counts by type.

use std::collections::VecDeque;

use crate::imports::{File, Imports};
use crate::json::{self, Reader, Token, unescape};
use crate::line_buffer::LineBuffer;
use crate::lines::Lines;
use crate::names::Names;
use crate::structured::{LARGEST_KEPT, LARGEST_RECORD};
use crate::timestamp::{self, Timestamps};
use crate::value::{Field, ValueRef, each, last_of_each};
use crate::{Error, Result};

/// How many types of error are counted by name; those beyond count as [`OTHER_TYPES`].
pub const MOST_TYPES: usize = 4096;

/// What the errors of further types are counted as.
pub const OTHER_TYPES: &str = "(other types)";

/// How many bytes of recent errors stay in memory, however many may.
const RECENT_BYTES: usize = 16 << 20;

/// One error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorEntry {
    /// RFC 3339, UTC, microseconds.
    pub timestamp: String,
    /// Its type.
    pub error_type: String,
    /// Its message.
    pub error_message: String,
    /// The whole call stack and chain of causes.
    pub traceback: String,
    /// What was known beside it, a JSON object.
    pub context: String,
    /// The rank of the process, where there are several.
    pub rank: Option<u32>,
}

impl ErrorEntry {
    fn size(&self) -> usize {
        self.error_type.len() + self.error_message.len() + self.traceback.len() + self.context.len()
    }

    /// Read a line of errors.jsonl, or say what is wrong with it.
    pub fn read(line: &str) -> Result<Self, json::Problem> {
        let mut entry = Self { context: "{}".into(), ..Self::default() };
        let mut object = Reader::object(line)?;
        let mut typed = false;
        while let Some((key, value)) = object.next()? {
            match (key, value) {
                ("timestamp", Token::Text(text)) => entry.timestamp = unescape(text).into_owned(),
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
        if typed { Ok(entry) } else { Err("there is no error_type") }
    }
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
        // The last name that fits stands for all that do not.
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

    /// Types with their counts, most frequent first, ties by name.
    pub fn most_frequent_first(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.names.iter().zip(self.counts.iter().copied()).collect();
        all.retain(|(_, count)| *count > 0);
        all.sort_by(|(one, ones), (other, others)| others.cmp(ones).then(one.cmp(other)));
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
        self.bytes += entry.size();
        self.entries.push_back(entry);
        while self.entries.len() > self.most
            || (self.bytes > RECENT_BYTES && self.entries.len() > 1)
        {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.size();
            }
        }
    }

    fn newest_first(&self, count: usize) -> Vec<ErrorEntry> {
        self.entries.iter().rev().take(count).cloned().collect()
    }
}

/// Keeps errors.
pub struct ErrorTracker<I> {
    imports: I,
    rank: Option<u32>,
    counts: Counts,
    recent: Recent,
    timestamps: Timestamps,
    line: LineBuffer,
}

impl<I: Imports> ErrorTracker<I> {
    /// Open errors.jsonl to append to it; the errors there count on.
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

    /// Log one error; it is on the disk before this returns.
    pub fn log_error(
        &mut self,
        error_type: &str,
        error_message: &str,
        traceback: &str,
        context: &[Field],
    ) -> Result<()> {
        let now = self.imports.now();
        let mut timestamp = LineBuffer::new();
        self.timestamps.write(&mut timestamp, now);
        let mut context_json = LineBuffer::from("{");
        for (name, value) in last_of_each(each(context)) {
            if context_json.len() > 1 {
                context_json.push(',');
            }
            json::write_string(&mut context_json, name);
            context_json.push(':');
            match value {
                // An error's context has no `non_finite` beside it: the number becomes its text.
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
        line.push_str(&timestamp);
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
            timestamp: timestamp.into(),
            error_type: error_type.to_owned(),
            error_message: error_message.to_owned(),
            traceback: traceback.to_owned(),
            context: context_json.into(),
            rank: self.rank,
        });
        let kept = self.imports.append(File::Errors, line, true);
        line.clear_to(LARGEST_KEPT);
        kept?;
        Ok(())
    }

    /// Counts by type, most frequent first.
    pub fn summary(&self) -> Vec<(&str, u64)> {
        self.counts.most_frequent_first()
    }

    /// The newest errors in memory, newest first.
    pub fn recent(&self, count: usize) -> Vec<ErrorEntry> {
        self.recent.newest_first(count)
    }

    /// Set the counts to nothing.
    pub fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }
}

/// Everything in errors.jsonl, over all its parts.
#[derive(Clone, Debug, Default)]
pub struct ErrorReport {
    /// Counts by type.
    pub counts: Counts,
    /// The earliest error of all.
    pub first: Option<ErrorEntry>,
    /// The newest errors, newest first.
    pub recent: Vec<ErrorEntry>,
    /// Lines that were skipped because they are damaged.
    pub damaged_lines: u64,
}

impl ErrorReport {
    /// Read errors.jsonl, keeping the newest `count` errors.
    pub fn read<I: Imports>(imports: &I, count: usize) -> Result<Self> {
        let mut report = Self::default();
        let mut first: Option<(u64, ErrorEntry)> = None;
        let mut newest: Vec<(u64, ErrorEntry)> = Vec::new();
        report.damaged_lines = each_entry(imports, &mut |entry| {
            report.counts.add(&entry.error_type);
            let time = timestamp::parse(&entry.timestamp).unwrap_or(u64::MAX);
            if first.as_ref().is_none_or(|(earliest, _)| time < *earliest) {
                first = Some((time, entry.clone()));
            }
            newest.push((time, entry));
            // Sorting now and then keeps what is held within twice what is asked for.
            if newest.len() > 2 * count.max(32) {
                newest.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
                newest.truncate(count);
            }
        })?;
        newest.reverse();
        newest.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        newest.truncate(count);
        report.first = first.map(|(_, entry)| entry);
        report.recent = newest.into_iter().map(|(_, entry)| entry).collect();
        Ok(report)
    }
}

/// Pass over the good lines of errors.jsonl; how many were damaged.
fn each_entry<I: Imports>(imports: &I, visit: &mut dyn FnMut(ErrorEntry)) -> Result<u64> {
    let mut damaged = 0;
    for part in imports.parts(File::Errors)? {
        let mut lines = Lines::open(imports, File::Errors, part)?;
        while let Some(line) = lines.next()? {
            match line.read(ErrorEntry::read) {
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
