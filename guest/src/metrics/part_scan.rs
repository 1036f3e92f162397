//! One pass over a part of metrics.jsonl: from its index where there is one, from its lines where not.
//!
//! A pass over a long file takes minutes. It is done in several calls, between which the caller can do something
//! else. Each call continues where the previous one stopped.

use super::entry::{Entry, EntryKey};
use super::index::{Index, SEGMENT, Segment};
use super::scan::Scanner;
use super::trend::Trends;
use crate::Result;
use crate::imports::{Imports, Part, RunFile};
use crate::lines::{Lines, ParsedLine};

/// How much of a file may come after what its index covers before a new one is worth writing.
const WORTH_SAVING: u64 = 4 << 20;

/// How much is read between two writes of the index while a pass goes on.
const SAVED_EVERY: u64 = 256 << 20;

/// The index of a part of metrics.jsonl up to `size`, as far as it has been read.
pub(super) struct PartScan<I> {
    imports: I,
    pub(super) part: Part,
    pub(super) size: u64,
    pub(super) index: Index,
    /// The buckets of what the index covers, if they are wanted.
    trends: Option<Trends>,
    /// How much of the part the index in the folder covers already.
    saved: u64,
    /// The last line's number and what is wrong with it, if it is cut off: it may be completed later.
    torn: Option<(u64, &'static str)>,
    stage: Stage,
    lines: Lines<I>,
    /// How many lines come before those that `lines` gives.
    lines_before: u64,
    scanner: Scanner,
}

/// What is being done.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// Count the lines that the index does not cover, expecting that they repeat no step that it counts.
    Extend,
    /// They do: read the rest for where the attempts began.
    Attempts,
    /// Count all lines again, with that known.
    Repeat,
    Done,
}

impl<I: Imports> PartScan<I> {
    /// Begin to scan the first `size` bytes of a part, with the buckets of its metrics or without. `own` is
    /// an attempt that continues from a step which may not be in the file.
    pub(super) fn begin(
        imports: &I,
        part: Part,
        size: u64,
        buckets: bool,
        own: Option<EntryKey>,
    ) -> Self {
        let load = |buckets| {
            let known = Index::load(imports, part, buckets);
            known.filter(|(index, _)| index.covered <= size)
        };
        let known = match load(buckets) {
            // Without its buckets it could not be written again.
            Some((index, _)) if !buckets && size >= index.covered + WORTH_SAVING => {
                load(true).map(|(index, trends)| (index, Some(trends)))
            }
            known => known.map(|(index, trends)| (index, buckets.then_some(trends))),
        };
        let (index, trends) = known.unwrap_or_else(|| (Index::default(), Some(Trends::default())));
        let from = index.covered;
        let mut part_scan = Self {
            imports: imports.clone(),
            part,
            size,
            trends,
            saved: from,
            torn: None,
            stage: Stage::Extend,
            lines: Lines::range(imports, RunFile::METRICS, part, from, size),
            lines_before: index.lines,
            scanner: Scanner::default(),
            index,
        };
        if let Some(own) = own {
            let repeats = part_scan.index.repeats(&own);
            part_scan.index.attempts.note(&own);
            if repeats {
                part_scan.repeat(from);
            }
        }
        part_scan
    }

    /// Continue to read, about as many bytes as the budget has, and subtract them from it. True at the end. After an
    /// error it can be called again.
    pub(super) fn advance(&mut self, budget: &mut u64) -> Result<bool> {
        while self.stage != Stage::Done {
            let at_end = match self.stage {
                Stage::Attempts => self.read_attempts(budget)?,
                _ => self.read_lines(budget)?,
            };
            if !at_end {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Write what was found next to the file, if enough of it is new. Where the folder may not be written there
    /// is no index. The host writes that of the part which it appends to.
    pub(super) fn save(&mut self) {
        let worth = if self.stage == Stage::Done { WORTH_SAVING } else { SAVED_EVERY };
        // What `Repeat` has counted so far depends on lines that it has not read yet.
        let is_complete = matches!(self.stage, Stage::Extend | Stage::Done);
        if let Some(trends) = &self.trends
            && is_complete
            && self.index.covered >= self.saved + worth
        {
            let _ = self.index.save(trends, &self.imports, self.part);
            self.saved = self.index.covered;
        }
    }

    /// The buckets, if they were asked for and all is read.
    pub(super) fn trends(&self) -> Option<&Trends> {
        self.trends.as_ref().filter(|_| self.stage == Stage::Done)
    }

    /// How many lines are damaged.
    pub(super) fn damaged(&self) -> u64 {
        self.index.damaged + u64::from(self.torn.is_some())
    }

    /// The first damaged line: its number and what is wrong with it.
    pub(super) fn first_damage(&self) -> Option<(u64, String)> {
        let torn = || self.torn.map(|(line, problem)| (line, problem.to_owned()));
        self.index.first_damage.clone().or_else(torn)
    }

    /// Whether the index counts what a reader counts: all entries but those that a later attempt repeated.
    pub(super) fn counts_all(&self, all_attempts: bool) -> bool {
        !(all_attempts && self.index.superseded)
    }

    /// Count everything again. The lines before an offset are known to begin no attempt at a lower step.
    fn repeat(&mut self, from: u64) {
        let Index { attempts, highest_step, highest_epoch, .. } = std::mem::take(&mut self.index);
        self.index = Index { attempts, highest_step, highest_epoch, ..Index::default() };
        self.trends = Some(Trends::default());
        self.scanner = Scanner::default();
        self.torn = None;
        // The index in the folder is of the file as it was before that line: no reader can extend it.
        self.saved = 0;
        self.read_from(from);
        self.stage = Stage::Attempts;
    }

    fn read_from(&mut self, offset: u64) {
        self.lines = Lines::range(&self.imports, RunFile::METRICS, self.part, offset, self.size);
        self.lines_before = self.index.lines;
    }

    /// Count lines; true at the end of this stage.
    fn read_lines(&mut self, budget: &mut u64) -> Result<bool> {
        let expects_order = self.stage == Stage::Extend;
        while *budget > 0 {
            let Some(line) = self.lines.next()? else {
                self.stage = Stage::Done;
                self.read_from(self.size);
                return Ok(true);
            };
            *budget = budget.saturating_sub(line.length);
            let number = self.lines_before + line.number;
            let index = &mut self.index;
            index.gaps |= line.offset != index.covered;
            let end = line.offset + line.length;
            if let Some(entry_key) = self.scanner.read(&line) {
                if expects_order {
                    if index.repeats(&entry_key) {
                        let offset = line.offset;
                        self.repeat(offset);
                        return Ok(true);
                    }
                    index.note(&entry_key);
                }
                index.begin_line(line.offset);
                if index.counts(&entry_key) {
                    let trends = &mut self.trends;
                    self.scanner.count(
                        &mut index.all_statistics,
                        &entry_key,
                        &mut |number, step, sample| {
                            if let Some(trends) = trends {
                                trends.add(number, step, sample);
                            }
                        },
                    );
                }
                (index.covered, index.lines) = (end, number);
                continue;
            }
            let (entry, problem) = match line.read(Entry::read) {
                Ok(ParsedLine { record, fragment, .. }) => (Some(record), fragment.map(|(_, p)| p)),
                Err(problem) if line.torn => {
                    self.torn = Some((number, problem));
                    continue;
                }
                Err(problem) => (None, Some(problem)),
            };
            if let (Some(entry), true) = (&entry, expects_order) {
                if index.repeats(entry) {
                    let offset = line.offset;
                    self.repeat(offset);
                    return Ok(true);
                }
                index.note(entry);
            }
            index.begin_line(line.offset);
            if let Some(problem) = problem {
                index.damaged += 1;
                index.first_damage.get_or_insert_with(|| (number, problem.to_owned()));
            }
            if let Some(entry) = entry
                && index.counts(&entry)
            {
                let trends = &mut self.trends;
                // What is wrong with a number is reported by those who read the entry itself.
                let _ = index.all_statistics.add_entry(&entry, &mut |number, step, sample| {
                    if let Some(trends) = trends {
                        trends.add(number, step, sample);
                    }
                });
            }
            (index.covered, index.lines) = (end, number);
        }
        Ok(false)
    }

    /// Read lines for where the attempts began; true at the end.
    fn read_attempts(&mut self, budget: &mut u64) -> Result<bool> {
        while *budget > 0 {
            let Some(line) = self.lines.next()? else {
                self.read_from(0);
                self.stage = Stage::Repeat;
                return Ok(true);
            };
            *budget = budget.saturating_sub(line.length);
            if let Ok(ParsedLine { record: entry, .. }) = line.read(Entry::read) {
                self.index.note(&entry);
            }
        }
        Ok(false)
    }
}

impl Index {
    /// A line begins at this offset.
    fn begin_line(&mut self, offset: u64) {
        if self.segments.last().is_none_or(|last| offset >= last.offset + SEGMENT) {
            self.segments.push(Segment { offset, steps: (u64::MAX, 0) });
        }
    }

    /// Whether an entry whose position among the attempts is not known supersedes one before it.
    fn repeats(&self, entry: &EntryKey) -> bool {
        self.attempts.has_before(entry.attempt)
            && self.attempts.begins_lower(entry)
            && match entry.step {
                Some(step) => self.highest_step.is_some_and(|highest| step <= highest),
                None => match (self.highest_epoch, entry.epoch) {
                    (Some(highest), Some(epoch)) => epoch <= highest,
                    _ => false,
                },
            }
    }

    /// Note an entry's position among the attempts.
    fn note(&mut self, entry: &EntryKey) {
        self.attempts.note(entry);
        self.note_highest(entry);
    }
}
