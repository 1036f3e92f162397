//! Reads a file of lines chunk by chunk, in bounded memory.

use std::collections::VecDeque;

use crate::Result;
use crate::imports::{Imports, Part, RunFile};
use crate::json::Problem;

/// About how many bytes of lines are read in one call from the host. A call may take a minute; in lines of any
/// shape, reading this much takes a few seconds at most.
pub const BUDGET: u64 = 64 << 20;

/// How many bytes are read at a time.
const CHUNK: u32 = 1 << 20;

/// The longest line that is parsed, in bytes; a longer one counts as damaged.
pub const MAX_LINE: usize = 32 << 20;

/// A line and its position in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes, without the newline; empty if it is longer than [`MAX_LINE`].
    pub bytes: &'a [u8],
    /// Its line number, from 1.
    pub number: u64,
    /// Where it starts in the file, in bytes.
    pub offset: u64,
    /// Its length in bytes, including its newline.
    pub length: u64,
    /// Whether it is the last line of a file that does not end in a newline, so that it may be cut off.
    pub torn: bool,
}

/// The beginning of every record. It cannot appear inside a JSON string, where its quotes would be escaped.
const RECORD_START: &[u8] = b"{\"timestamp\":\"";

/// At how many places in a damaged line to try to parse a record. Each attempt may read the rest of the
/// line, so without a limit the time would be quadratic.
const MAX_STARTS: usize = 64;

/// A line's record, and the damage before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedLine<'a, T> {
    /// The record's text.
    pub text: &'a str,
    /// The parsed record.
    pub record: T,
    /// If a torn record comes before this one on the line: its length in bytes, and what is wrong with it.
    pub fragment: Option<(usize, Problem)>,
}

impl<'a> Line<'a> {
    /// Parses the line's record with `read`. A last line without its newline is a record if it is complete.
    ///
    /// A process that is killed during a write leaves a fragment without a newline, and the record that
    /// another process appends next is on the same line. That record is complete, and this returns it.
    ///
    /// # Errors
    ///
    /// Why the line holds no complete record.
    pub fn read<T>(
        &self,
        read: impl Fn(&'a str) -> Result<T, Problem>,
    ) -> Result<ParsedLine<'a, T>, Problem> {
        let whole = self.text().and_then(|text| Ok((text, read(text)?)));
        let problem = match whole {
            Ok((text, record)) => return Ok(ParsedLine { text, record, fragment: None }),
            Err(problem) => problem,
        };
        if self.torn {
            return Err("the line is cut off");
        }
        if self.bytes.is_empty() {
            return Err(problem);
        }
        // Take the first start from which the whole rest of the line parses: a nested object may begin the
        // same way.
        let starts = memchr::memmem::find_iter(self.bytes, RECORD_START).filter(|at| *at > 0);
        for at in starts.take(MAX_STARTS) {
            if let Ok(text) = std::str::from_utf8(&self.bytes[at..])
                && let Ok(record) = read(text)
            {
                return Ok(ParsedLine { text, record, fragment: Some((at, problem)) });
            }
        }
        Err(problem)
    }

    fn text(&self) -> Result<&'a str, Problem> {
        if self.length as usize > MAX_LINE {
            return Err("the line is longer than 32 MiB");
        }
        std::str::from_utf8(self.bytes).map_err(|_| "the line is not UTF-8")
    }
}

/// Reads the lines of one part of a file, up to the size that the part had when reading began.
pub struct Lines<I> {
    imports: I,
    file: RunFile,
    part: Part,
    /// Bytes that were read; those before `start` were already returned.
    buffer: Vec<u8>,
    /// Where the next line starts in `buffer`.
    start: usize,
    /// How far `buffer` has been searched for a newline.
    searched: usize,
    /// Where `buffer` ends in the file.
    position: u64,
    /// Where in the file to stop.
    end: u64,
    number: u64,
    /// How many bytes of an overlong line were discarded so far.
    skipped: u64,
}

impl<I: Imports> Lines<I> {
    /// Reads from the start of a part to its present end.
    ///
    /// # Errors
    ///
    /// If the host cannot report the part's size.
    pub fn open(imports: &I, file: RunFile, part: Part) -> Result<Self> {
        let end = imports.size(file, part)?;
        Ok(Self::range(imports, file, part, 0, end))
    }

    /// Reads from `position` to `end`, in bytes. A line must start at `position`.
    pub fn range(imports: &I, file: RunFile, part: Part, position: u64, end: u64) -> Self {
        Self {
            imports: imports.clone(),
            file,
            part,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            position,
            end,
            number: 0,
            skipped: 0,
        }
    }

    /// The next line that is not empty; none at the end.
    ///
    /// # Errors
    ///
    /// If the host cannot read the file.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its items")]
    pub fn next(&mut self) -> Result<Option<Line<'_>>> {
        let (start, stop, torn) = loop {
            match memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                Some(at) => {
                    let (start, stop) = (self.start, self.searched + at);
                    self.start = stop + 1;
                    self.searched = stop + 1;
                    self.number += 1;
                    if stop > start || self.skipped > 0 {
                        break (start, stop, false);
                    }
                }
                None => {
                    self.searched = self.buffer.len();
                    if !self.read_on()? {
                        let (start, stop) = (self.start, self.buffer.len());
                        if start == stop && self.skipped == 0 {
                            return Ok(None);
                        }
                        self.start = stop;
                        self.number += 1;
                        break (start, stop, true);
                    }
                }
            }
        };
        let skipped = std::mem::take(&mut self.skipped);
        let buffered = (stop - start) as u64;
        // `position` is the end of the buffer, so the line's offset follows from the bytes after the line.
        let after = (self.buffer.len() - self.start) as u64;
        let length = skipped + buffered + u64::from(!torn);
        Ok(Some(Line {
            bytes: if skipped > 0 { &[] } else { &self.buffer[start..stop] },
            number: self.number,
            offset: self.position - after - length,
            length,
            torn,
        }))
    }

    /// How many lines have been read so far, including empty ones.
    pub fn count(&self) -> u64 {
        self.number
    }

    /// Reads one more chunk; false at the end.
    fn read_on(&mut self) -> Result<bool> {
        if self.position >= self.end {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        if self.buffer.len() > MAX_LINE {
            self.skipped += self.buffer.len() as u64;
            self.buffer.clear();
            self.searched = 0;
        }
        let length = u64::from(CHUNK).min(self.end - self.position) as u32;
        let chunk = self.imports.read(self.file, self.part, self.position, length)?;
        if chunk.is_empty() {
            // The file was truncated while it was read.
            self.end = self.position;
            return Ok(false);
        }
        self.position += chunk.len() as u64;
        if self.buffer.is_empty() {
            self.buffer = chunk;
        } else {
            self.buffer.extend_from_slice(&chunk);
        }
        Ok(true)
    }
}

/// Reads ranges of the parts of a file, one after the other, as far as a budget allows at a time.
pub struct Ranges<I> {
    imports: I,
    file: RunFile,
    /// What comes after `lines`: parts, and the offsets from which and to which they are read.
    ranges: VecDeque<(Part, u64, u64)>,
    lines: Lines<I>,
}

/// Why no further line is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The latest was taken.
    Taken,
    /// The budget is used up.
    Budget,
    /// There is none.
    End,
}

impl<I: Imports> Ranges<I> {
    /// Read these ranges. Each is a part, the offset of a line in it, and where to end.
    pub fn new(imports: &I, file: RunFile, ranges: VecDeque<(Part, u64, u64)>) -> Self {
        let nothing = Part { rank: None, rotated: 0 };
        let lines = Lines::range(imports, file, nothing, 0, 0);
        Self { imports: imports.clone(), file, ranges, lines }
    }

    /// Read all that the file holds now.
    pub fn all(imports: &I, file: RunFile) -> Result<Self> {
        let parts = imports.parts(file)?.into_iter();
        let ranges = parts.map(|part| Ok((part, 0, imports.size(file, part)?)));
        Ok(Self::new(imports, file, ranges.collect::<Result<_>>()?))
    }

    /// Show lines until one is taken, and take their bytes off the budget.
    pub fn find(
        &mut self,
        budget: &mut u64,
        take: &mut dyn FnMut(&Line<'_>) -> bool,
    ) -> Result<Stop> {
        while *budget > 0 {
            match self.lines.next()? {
                Some(line) => {
                    *budget = budget.saturating_sub(line.length);
                    if take(&line) {
                        return Ok(Stop::Taken);
                    }
                }
                None => match self.ranges.pop_front() {
                    Some((part, from, to)) => {
                        self.lines = Lines::range(&self.imports, self.file, part, from, to);
                    }
                    None => return Ok(Stop::End),
                },
            }
        }
        Ok(Stop::Budget)
    }

    /// Show all lines, as far as the budget allows; true at the end.
    pub fn each(&mut self, budget: &mut u64, visit: &mut dyn FnMut(&Line<'_>)) -> Result<bool> {
        let stop = self.find(budget, &mut |line| {
            visit(line);
            false
        })?;
        Ok(stop == Stop::End)
    }
}
