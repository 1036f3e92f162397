//! Reading a file of lines piece by piece, in bounded memory.

use crate::Result;
use crate::imports::{File, Imports, Part};
use crate::json::Problem;

/// How much is read at a time.
const PIECE: u32 = 1 << 20;

/// The longest line that is looked into; a longer one counts as damaged.
pub const LONGEST: usize = 32 << 20;

/// A line where it stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes, without the newline; empty if it is longer than [`LONGEST`].
    pub bytes: &'a [u8],
    /// Its number in the file, from 1.
    pub number: u64,
    /// Where it starts, in bytes.
    pub offset: u64,
    /// Its length in bytes, its newline included.
    pub length: u64,
    /// True where the file ends without a newline after it: the line may be cut off.
    pub torn: bool,
}

/// What every record begins with. A quote inside a string is escaped, so that it cannot stand in one.
const RECORD_START: &[u8] = b"{\"timestamp\":\"";

/// How many beginnings of records a damaged line is searched for: reading on from each takes the rest of
/// the line.
const MOST_STARTS: usize = 64;

/// A record that a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a, T> {
    /// Its text.
    pub text: &'a str,
    /// What was read from it.
    pub record: T,
    /// How many bytes of the line before it are a torn record's, and what is wrong with them.
    pub fragment: Option<(usize, Problem)>,
}

impl<'a> Line<'a> {
    /// Read the line's record, or say why there is none.
    ///
    /// A process that is killed inside a write leaves a fragment without a newline, and the record that
    /// another process appends next stands on the same line: that one is whole, and is found.
    pub fn read<T>(
        &self,
        read: impl Fn(&'a str) -> Result<T, Problem>,
    ) -> Result<Found<'a, T>, Problem> {
        let whole = self.text().and_then(|text| Ok((text, read(text)?)));
        let problem = match whole {
            Ok((text, record)) => return Ok(Found { text, record, fragment: None }),
            Err(problem) => problem,
        };
        if self.torn || self.bytes.is_empty() {
            return Err(problem);
        }
        // The first whose rest of the line reads as a record: an object inside one may begin so too.
        let starts = memchr::memmem::find_iter(self.bytes, RECORD_START).filter(|at| *at > 0);
        for at in starts.take(MOST_STARTS) {
            if let Ok(text) = std::str::from_utf8(&self.bytes[at..])
                && let Ok(record) = read(text)
            {
                return Ok(Found { text, record, fragment: Some((at, problem)) });
            }
        }
        Err(problem)
    }

    fn text(&self) -> Result<&'a str, Problem> {
        if self.length as usize > LONGEST {
            return Err("the line is longer than 32 MiB");
        }
        if self.torn {
            return Err("the line is cut off");
        }
        std::str::from_utf8(self.bytes).map_err(|_| "the line is not UTF-8")
    }
}

/// Reads the lines of one part of a file, up to the size that it had when reading began.
pub struct Lines<I> {
    imports: I,
    file: File,
    part: Part,
    /// What has been read and not yet passed on.
    buffer: Vec<u8>,
    /// Where in `buffer` the next line starts, and how far it has been searched for a newline.
    start: usize,
    searched: usize,
    /// Where in the file `buffer` ends, and where reading ends.
    position: u64,
    end: u64,
    number: u64,
    /// Bytes of a line too long to keep that have been passed over.
    skipped: u64,
}

impl<I: Imports> Lines<I> {
    /// Read from the start of the file to its present end.
    pub fn open(imports: &I, file: File, part: Part) -> Result<Self> {
        let end = imports.size(file, part)?;
        Ok(Self::range(imports, file, part, 0, end))
    }

    /// Read from `position`, where a line must start, to `end`.
    pub fn range(imports: &I, file: File, part: Part, position: u64, end: u64) -> Self {
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
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend its lines")]
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
        let kept = (stop - start) as u64;
        // What lies behind this line in the buffer, and its newline, come after it in the file.
        let after = (self.buffer.len() - self.start) as u64;
        let length = skipped + kept + u64::from(!torn);
        Ok(Some(Line {
            bytes: if skipped > 0 { &[] } else { &self.buffer[start..stop] },
            number: self.number,
            offset: self.position - after - length,
            length,
            torn,
        }))
    }

    /// How many lines have been passed, empty ones too.
    pub fn count(&self) -> u64 {
        self.number
    }

    /// Read one more piece; false at the end.
    fn read_on(&mut self) -> Result<bool> {
        if self.position >= self.end {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        if self.buffer.len() > LONGEST {
            self.skipped += self.buffer.len() as u64;
            self.buffer.clear();
            self.searched = 0;
        }
        let length = u64::from(PIECE).min(self.end - self.position) as u32;
        let piece = self.imports.read(self.file, self.part, self.position, length)?;
        if piece.is_empty() {
            // The file was cut shorter while it was read.
            self.end = self.position;
            return Ok(false);
        }
        self.position += piece.len() as u64;
        if self.buffer.is_empty() {
            self.buffer = piece;
        } else {
            self.buffer.extend_from_slice(&piece);
        }
        Ok(true)
    }
}
