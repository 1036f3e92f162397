//! One pass over a part of metrics.jsonl: from its index where there is one, from its lines where not.

use super::attempts::Attempts;
use super::entry::{Entry, Place};
use super::index::{Index, STRETCH, Stretch};
use super::scan::Scanner;
use crate::Result;
use crate::imports::{Imports, Part, RunFile};
use crate::lines::{Lines, ParsedLine};

/// How much of a file may lie behind its index before a new one is worth writing.
const WORTH_SAVING: u64 = 4 << 20;

/// What is known of a part of metrics.jsonl up to `size`.
pub(super) struct Survey {
    pub(super) part: Part,
    pub(super) size: u64,
    pub(super) index: Index,
    /// How much of the part an index beside it covers already.
    saved: u64,
    /// The first damaged line: its number and what is wrong with it.
    pub(super) first_damage: Option<(u64, &'static str)>,
}

impl Survey {
    /// Survey a part as it is now.
    pub(super) fn of<I: Imports>(imports: &I, part: Part) -> Result<Self> {
        let size = imports.size(RunFile::METRICS, part)?;
        Self::up_to(imports, part, size)
    }

    /// Survey the first `size` bytes of a part.
    pub(super) fn up_to<I: Imports>(imports: &I, part: Part, size: u64) -> Result<Self> {
        let known = Index::load(imports, part).filter(|index| index.covered <= size);
        let from = known.as_ref().map_or(0, |index| index.covered);
        let mut survey =
            Self { part, size, index: known.unwrap_or_default(), saved: from, first_damage: None };
        if !survey.read_on(imports, from)? {
            // A later attempt went over steps that the index counts: read everything again.
            survey.index = Index::default();
            survey.first_damage = None;
            survey.read_attempts(imports)?;
            survey.read_on(imports, 0)?;
        }
        Ok(survey)
    }

    /// Whether the index tells all there is to tell of the entries: none is damaged, and if `all_attempts`
    /// count, none was gone over again.
    pub(super) fn tells_all(&self, all_attempts: bool) -> bool {
        self.index.damaged == 0 && !(all_attempts && self.index.superseded)
    }

    /// Keep what was found, if enough of it is new. Where the folder may not be written there is no index.
    /// The host writes the index of the part that it appends to.
    pub(super) fn save<I: Imports>(&self, imports: &I) {
        if self.index.damaged == 0 && self.index.covered >= self.saved + WORTH_SAVING {
            let _ = self.index.save(imports, self.part);
        }
    }

    /// Read the lines from an offset to the end; false if one of them makes the statistics before it
    /// wrong.
    fn read_on<I: Imports>(&mut self, imports: &I, from: u64) -> Result<bool> {
        let known_attempts = self.index.attempts.clone();
        let surveyed = from == 0 && known_attempts.latest().is_some();
        let mut lines = Lines::range(imports, RunFile::METRICS, self.part, from, self.size);
        let mut scanner = Scanner::default();
        while let Some(line) = lines.next()? {
            let number = self.index.lines + line.number;
            let index = &mut self.index;
            if index.stretches.last().is_none_or(|last| line.offset >= last.offset + STRETCH) {
                index.stretches.push(Stretch { offset: line.offset, steps: (u64::MAX, 0) });
            }
            index.gaps |= line.offset != index.covered;
            let torn = line.torn;
            if let Some(place) = scanner.read(&line) {
                if !surveyed && !self.take_in_order(&place) {
                    return Ok(false);
                }
                if self.index.counts(&place) {
                    scanner.count(&mut self.index.tally, &place, &mut |_, _| {});
                }
                self.index.covered = line.offset + line.length;
                continue;
            }
            let (entry, problem) = match line.read(Entry::read) {
                Ok(ParsedLine { record, fragment, .. }) => (Some(record), fragment.map(|(_, p)| p)),
                Err(problem) => (None, Some(problem)),
            };
            if let Some(problem) = problem {
                index.damaged += 1;
                self.first_damage.get_or_insert((number, problem));
            }
            if let Some(entry) = entry {
                if !surveyed && !self.take_in_order(&entry) {
                    return Ok(false);
                }
                if self.index.counts(&entry) {
                    // What is wrong with a number is told by whoever reads the entry itself.
                    let _ = self.index.tally.add_entry(&entry, &mut |_, _| {});
                }
            }
            if !torn {
                self.index.covered = line.offset + line.length;
            }
        }
        self.index.lines += lines.count();
        Ok(true)
    }

    /// Note an entry whose place among the attempts was not known before; false if it supersedes one
    /// before it.
    fn take_in_order(&mut self, entry: &Place) -> bool {
        let index = &mut self.index;
        if index.attempts.has_before(entry.attempt) && index.attempts.begins_lower(entry) {
            let over_again = match entry.step {
                Some(step) => index.highest_step.is_some_and(|highest| step <= highest),
                None => match (index.highest_epoch, entry.epoch) {
                    (Some(highest), Some(epoch)) => epoch <= highest,
                    _ => false,
                },
            };
            if over_again {
                return false;
            }
        }
        index.attempts.note(entry);
        index.note_highest(entry);
        true
    }

    /// A pass over all lines for where the attempts began.
    fn read_attempts<I: Imports>(&mut self, imports: &I) -> Result<()> {
        let mut attempts = Attempts::default();
        let mut lines = Lines::range(imports, RunFile::METRICS, self.part, 0, self.size);
        while let Some(line) = lines.next()? {
            if let Ok(ParsedLine { record: entry, .. }) = line.read(Entry::read) {
                attempts.note(&entry);
                self.index.note_highest(&entry);
            }
        }
        self.index.attempts = attempts;
        Ok(())
    }
}
