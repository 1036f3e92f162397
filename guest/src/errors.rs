//! Errors: all of them in errors.jsonl, the newest in memory, counts by type.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::imports::{Imports, RunFile};
use crate::json::{self, Reader, Token, unescape};
use crate::line_buffer::LineBuffer;
use crate::lines::{ParsedLine, Ranges};
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

/// The longest message and the longest traceback, and the largest context, in bytes. With every byte escaped in JSON, an
/// error of this size still fits a record.
const LONGEST: usize = 1 << 20;
const LONGEST_TYPE: usize = 1 << 10;
const LARGEST_CONTEXT: usize = 2 << 20;

/// A text that is too long without its middle: an error's beginning and its end say most.
fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return text.into();
    }
    let half = longest / 2;
    let head = &text[..text.floor_char_boundary(half)];
    let tail = &text[text.ceil_char_boundary(text.len() - half)..];
    let omitted = text.len() - head.len() - tail.len();
    format!("{head}\n… {omitted} bytes omitted …\n{tail}").into()
}

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
    fn add(&mut self, error_type: &str, count: u64) {
        let number = self.names.id_or_insert(error_type);
        // The last name that fits is used for all further ones.
        let full = self.names.len() >= MOST_TYPES - 1;
        let number = match number {
            Some(number) if !full || (number as usize) < self.counts.len() => Some(number),
            _ => self.names.id_or_insert(OTHER_TYPES),
        };
        let Some(number) = number.map(|number| number as usize) else { return };
        if self.counts.len() <= number {
            self.counts.resize(number + 1, 0);
        }
        self.counts[number] += count;
    }

    fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names.iter().zip(self.counts.iter().copied()).filter(|(_, count)| *count > 0)
    }

    /// Types with their counts, most frequent first, equal counts by name.
    pub fn most_frequent_first(&self) -> Vec<TypeCount> {
        let count = |(name, count): (&str, u64)| TypeCount { error_type: name.to_owned(), count };
        let mut all: Vec<_> = self.iter().map(count).collect();
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
    /// What was in errors.jsonl before this tracker, until it is read.
    earlier: Option<Earlier<I>>,
    timestamps: Timestamps,
    line: LineBuffer,
}

/// The errors of earlier processes. They are read when errors are queried, and not before: a new error must reach
/// the disk without waiting for a long file to be read.
struct Earlier<I> {
    lines: Ranges<I>,
    counts: Counts,
    recent: Recent,
    /// False after the counts were reset.
    is_counted: bool,
}

impl<I: Imports> ErrorTracker<I> {
    /// Open errors.jsonl to append to it. Counts include the errors that it holds.
    pub fn open(imports: &I, max_errors: u32, rank: Option<u32>) -> Result<Self> {
        let recent = Recent::at_most(max_errors as usize);
        let earlier = Earlier {
            lines: Ranges::all(imports, RunFile::ERRORS)?,
            counts: Counts::default(),
            recent: recent.clone(),
            is_counted: true,
        };
        Ok(Self {
            imports: imports.clone(),
            rank,
            counts: Counts::default(),
            recent,
            earlier: Some(earlier),
            timestamps: Timestamps::default(),
            line: LineBuffer::new(),
        })
    }

    /// Do a part of the work for [`summary`](Self::summary) and [`recent`](Self::recent): read about `budget`
    /// bytes of what was in the file before. True when nothing is left to read. After an error it can be called
    /// again.
    pub fn advance(&mut self, mut budget: u64) -> Result<bool> {
        let Some(Earlier { lines, counts, recent, is_counted }) = &mut self.earlier else {
            return Ok(true);
        };
        let at_end = lines.each(&mut budget, &mut |line| {
            if let Ok(ParsedLine { record: entry, .. }) = line.read(read_entry) {
                counts.add(&entry.error_type, 1);
                recent.push(entry);
            }
        })?;
        if at_end {
            // The errors that this tracker logged come after those.
            if *is_counted {
                let own = std::mem::replace(&mut self.counts, std::mem::take(counts));
                own.iter().for_each(|(error_type, count)| self.counts.add(error_type, count));
            }
            let own = std::mem::take(&mut self.recent.entries);
            self.recent = recent.clone();
            own.into_iter().for_each(|entry| self.recent.push(entry));
            self.earlier = None;
        }
        Ok(at_end)
    }

    fn prepare(&mut self) -> Result<()> {
        while !self.advance(u64::MAX)? {}
        Ok(())
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
        let (error_type, error_message, traceback) = (
            &*cut(error_type, LONGEST_TYPE),
            &*cut(error_message, LONGEST),
            &*cut(traceback, LONGEST),
        );
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
        if context_json.len() > LARGEST_CONTEXT {
            // The error itself must not be lost with it.
            let bytes = context_json.len();
            context_json = LineBuffer::from(&*format!("{{\"omitted_bytes\":{bytes}}}"));
        }
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
        self.counts.add(error_type, 1);
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
    pub fn summary(&mut self) -> Result<Vec<TypeCount>> {
        self.prepare()?;
        Ok(self.counts.most_frequent_first())
    }

    /// The newest errors in memory, newest first.
    pub fn recent(&mut self, count: usize) -> Result<Vec<ErrorEntry>> {
        self.prepare()?;
        Ok(self.recent.newest_first(count))
    }

    /// Set every count to 0.
    pub fn reset_counts(&mut self) {
        self.counts = Counts::default();
        if let Some(earlier) = &mut self.earlier {
            earlier.is_counted = false;
        }
    }
}

/// Read errors.jsonl of all ranks, with the newest `count` errors.
///
/// # Errors
///
/// [`Error::Storage`] if the file cannot be read.
pub fn read_report<I: Imports>(imports: &I, count: usize) -> Result<ErrorReport> {
    ErrorReader::open(imports, count)?.report()
}

/// When an error was logged, for sorting. One without a readable timestamp comes last.
fn time(entry: &ErrorEntry) -> u64 {
    entry.timestamp.unwrap_or(u64::MAX)
}

/// Sort entries by time, and keep the newest `count` of them.
fn newest_first(entries: &mut Vec<ErrorEntry>, count: usize) {
    entries.sort_by_key(|entry| std::cmp::Reverse(time(entry)));
    entries.truncate(count);
}

/// Reads errors.jsonl of all ranks. A long file is read in several calls.
pub struct ErrorReader<I> {
    lines: Ranges<I>,
    /// How many of the newest errors are asked for.
    count: usize,
    counts: Counts,
    /// The earliest error.
    first: Option<ErrorEntry>,
    /// Errors that may be among the newest.
    recent: Vec<ErrorEntry>,
    damaged_lines: u64,
    at_end: bool,
}

impl<I: Imports> ErrorReader<I> {
    /// Open errors.jsonl as it is now, to find the newest `count` errors.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the host cannot report the file's size.
    pub fn open(imports: &I, count: usize) -> Result<Self> {
        Ok(Self {
            lines: Ranges::all(imports, RunFile::ERRORS)?,
            count,
            counts: Counts::default(),
            first: None,
            recent: Vec::new(),
            damaged_lines: 0,
            at_end: false,
        })
    }

    /// Read about `budget` bytes; true at the end. After an error it can be called again.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn advance(&mut self, mut budget: u64) -> Result<bool> {
        let Self { lines, count, counts, first, recent, damaged_lines, at_end } = self;
        *at_end = lines.each(&mut budget, &mut |line| {
            let Ok(ParsedLine { record: entry, fragment, .. }) = line.read(read_entry) else {
                *damaged_lines += 1;
                return;
            };
            *damaged_lines += u64::from(fragment.is_some());
            counts.add(&entry.error_type, 1);
            if first.as_ref().is_none_or(|first| time(&entry) < time(first)) {
                *first = Some(entry.clone());
            }
            recent.push(entry);
            // Sorting now and then bounds the entries in memory to twice those asked for.
            if recent.len() > 2 * (*count).max(32) {
                newest_first(recent, *count);
            }
        })?;
        Ok(*at_end)
    }

    /// What the whole file holds.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn report(&mut self) -> Result<ErrorReport> {
        while !self.at_end {
            self.advance(u64::MAX)?;
        }
        let mut recent = self.recent.clone();
        recent.reverse();
        newest_first(&mut recent, self.count);
        Ok(ErrorReport {
            counts: self.counts.most_frequent_first(),
            first: self.first.clone(),
            recent,
            damaged_lines: self.damaged_lines,
        })
    }
}
