//! One pass over a part of metrics.jsonl: from its index where there is one, from its lines where not.
//!
//! A pass over a long file takes minutes. It is done in several calls, between which the caller can do something
//! else. Each call continues where the previous one stopped.

use super::entry::{Entry, EntryKey};
use super::index::{AllTrends, Index, SEGMENT, Segment};
use super::metric_statistics::MetricStatistics;
use super::scan::Scanner;
use super::superseded::AttemptSteps;
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
    trends: Option<AllTrends>,
    /// How much of the part the index in the folder covers already.
    saved: u64,
    /// The last line's number and what is wrong with it, if it is cut off: it may be completed later.
    torn: Option<(u64, &'static str)>,
    stage: Stage,
    lines: Lines<I>,
    /// How many lines come before those that `lines` gives.
    lines_before: u64,
    scanner: Scanner,
    /// The latest line's metrics, as [`MetricStatistics::identify`] finds them.
    members: Vec<(u32, Option<f64>)>,
}

/// What is being done.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// Count the lines that the index does not cover, expecting that they repeat no value that it counts.
    Extend,
    /// They do: read the rest for what the attempts logged.
    Attempts,
    /// Count all lines again, with that known.
    Repeat,
    Done,
}

/// The values that a logger has logged, which may not be in the file yet.
pub(super) struct Own<'a> {
    pub(super) attempt: u32,
    pub(super) logged: &'a AttemptSteps,
    /// The metrics, by their ids in `logged`.
    pub(super) names: &'a MetricStatistics,
}

impl<I: Imports> PartScan<I> {
    /// Begin to scan the first `size` bytes of a part, with the buckets of its metrics or without. The values that
    /// `own` repeats are not counted.
    pub(super) fn begin(
        imports: &I,
        part: Part,
        size: u64,
        buckets: bool,
        own: Option<Own<'_>>,
    ) -> Self {
        let load = |buckets| {
            let loaded = Index::load(imports, part, buckets);
            loaded.filter(|(index, _)| index.covered <= size)
        };
        let loaded = match load(buckets) {
            // Without its buckets it could not be written again.
            Some((index, _)) if !buckets && size >= index.covered + WORTH_SAVING => {
                load(true).map(|(index, trends)| (index, Some(trends)))
            }
            loaded => loaded.map(|(index, trends)| (index, buckets.then_some(trends))),
        };
        let (index, trends) =
            loaded.unwrap_or_else(|| (Index::default(), Some(Default::default())));
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
            members: Vec::new(),
            index,
        };
        if let Some(own) = own
            && part_scan.index.merge(&own)
        {
            part_scan.repeat(from);
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
    pub(super) fn trends(&self) -> Option<&AllTrends> {
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

    /// Count everything again, without what later attempts logged again. The lines before an offset were already read
    /// for that.
    fn repeat(&mut self, from: u64) {
        let Index { logged, highest_step, statistics, .. } = std::mem::take(&mut self.index);
        self.index = Index {
            logged,
            highest_step,
            // The ids stay what they are in `logged`.
            statistics: statistics.emptied(),
            ..Index::default()
        };
        self.trends = Some(Default::default());
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
        let extends = self.stage == Stage::Extend;
        while *budget > 0 {
            let Some(line) = self.lines.next()? else {
                self.stage = Stage::Done;
                self.read_from(self.size);
                return Ok(true);
            };
            *budget = budget.saturating_sub(line.length);
            let number = self.lines_before + line.number;
            let (index, trends) = (&mut self.index, self.trends.as_mut());
            let (offset, end, torn) = (line.offset, line.offset + line.length, line.torn);
            let (repeats, problem) = if let Some(key) = self.scanner.read(&line) {
                self.scanner.identify(&mut index.statistics.steps);
                let members = self.scanner.members();
                (!index.add(&key, members, offset, extends, trends), None)
            } else {
                match line.read(Entry::read) {
                    Ok(ParsedLine { record: entry, fragment, .. }) => {
                        // What is wrong with a number is reported by those who read the entry itself.
                        let _ = index.statistics.identify(&entry, &mut self.members);
                        let members = self.members.iter().copied();
                        let repeats = !index.add(&entry, members, offset, extends, trends);
                        (repeats, fragment.map(|(_, problem)| problem))
                    }
                    Err(problem) if line.torn => {
                        self.torn = Some((number, problem));
                        index.gaps |= offset != index.covered;
                        continue;
                    }
                    Err(problem) => {
                        index.begin_line(offset);
                        (false, Some(problem))
                    }
                }
            };
            if repeats {
                self.repeat(offset);
                return Ok(true);
            }
            index.gaps |= offset != index.covered || torn;
            if let Some(problem) = problem {
                index.damaged += 1;
                index.first_damage.get_or_insert_with(|| (number, problem.to_owned()));
            }
            (index.covered, index.lines) = (end, number);
        }
        Ok(false)
    }

    /// Read lines for what the attempts logged; true at the end.
    fn read_attempts(&mut self, budget: &mut u64) -> Result<bool> {
        while *budget > 0 {
            let Some(line) = self.lines.next()? else {
                self.read_from(0);
                self.stage = Stage::Repeat;
                return Ok(true);
            };
            *budget = budget.saturating_sub(line.length);
            if let Some(key) = self.scanner.read(&line) {
                self.scanner.identify(&mut self.index.statistics.steps);
                self.index.note(&key, self.scanner.members());
            } else if let Ok(ParsedLine { record: entry, .. }) = line.read(Entry::read) {
                let _ = self.index.statistics.identify(&entry, &mut self.members);
                self.index.note(&entry, self.members.iter().copied());
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

    /// Count an entry. False, and nothing is counted, if it may repeat a value of an earlier attempt that is counted
    /// already; this is checked if `extends`, and otherwise what the attempts logged is known.
    #[inline]
    fn add(
        &mut self,
        key: &EntryKey,
        members: impl Iterator<Item = (u32, Option<f64>)> + Clone,
        offset: u64,
        extends: bool,
        trends: Option<&mut AllTrends>,
    ) -> bool {
        if extends {
            if key.attempt > 1 && self.may_repeat(key, members.clone()) {
                return false;
            }
            self.note(key, members.clone());
        }
        self.begin_line(offset);
        let (mut counted, mut omitted) = (0, 0);
        let Some(step) = key.step else {
            self.add_summary(key, members, trends);
            return true;
        };
        if let Some(segment) = self.segments.last_mut() {
            segment.steps = (segment.steps.0.min(step), segment.steps.1.max(step));
        }
        let has_after = self.logged.has_after(key.attempt);
        let mut trends = trends;
        for (id, value) in members {
            if has_after && self.logged.supersede(key.attempt, id, step) {
                omitted += 1;
                continue;
            }
            counted += 1;
            if let Some(value) = value {
                self.statistics.steps.add(id, step, value);
                if let Some([trends, _]) = &mut trends {
                    trends.add(id, step, value);
                }
            }
        }
        if omitted > 0 {
            self.omitted.add(counted, omitted);
        }
        true
    }

    fn add_summary(
        &mut self,
        key: &EntryKey,
        members: impl Iterator<Item = (u32, Option<f64>)>,
        trends: Option<&mut AllTrends>,
    ) {
        let epoch = key.epoch.unwrap_or(f64::NAN);
        if self.logged.supersede_epoch(key.attempt, epoch) {
            self.omitted.rows += 1;
            return;
        }
        let mut trends = trends;
        for (id, value) in members {
            let Some(value) = value else { continue };
            self.statistics.summaries.add(id, epoch as u64, value);
            if let Some([_, trends]) = &mut trends {
                trends.add(id, epoch as u64, value);
            }
        }
    }

    /// Whether an entry may repeat values of an earlier attempt.
    fn may_repeat(
        &mut self,
        key: &EntryKey,
        mut members: impl Iterator<Item = (u32, Option<f64>)>,
    ) -> bool {
        match (key.step, key.epoch) {
            (Some(step), _) => members.any(|(id, _)| self.logged.may_repeat(key.attempt, id, step)),
            (None, Some(epoch)) => self.logged.may_repeat_epoch(key.attempt, epoch),
            (None, None) => false,
        }
    }

    /// Note what an entry's attempt logged.
    #[inline]
    fn note(&mut self, key: &EntryKey, members: impl Iterator<Item = (u32, Option<f64>)>) {
        match (key.step, key.epoch) {
            (Some(step), _) => {
                self.highest_step = self.highest_step.max(Some(step));
                members.for_each(|(id, _)| self.logged.note(key.attempt, id, step));
            }
            (None, Some(epoch)) => self.logged.note_epoch(key.attempt, epoch),
            (None, None) => {}
        }
    }

    /// Note what a logger has logged. True if that may repeat a value that is counted.
    fn merge(&mut self, own: &Own<'_>) -> bool {
        let names: Vec<&str> = own.names.iter().map(|(name, _)| name).collect();
        let mut id = |metric: u32| self.statistics.steps.metric_id(names[metric as usize]);
        let mut repeats = false;
        for metric in 0..own.logged.steps.len() as u32 {
            if let (Some(lowest), Some(id)) = (own.logged.lowest(metric), id(metric)) {
                repeats |= self.logged.may_reach(own.attempt, id, lowest);
            }
        }
        for &epoch in &own.logged.epochs {
            repeats |= self.logged.may_repeat_epoch(own.attempt, f64::from_bits(epoch));
        }
        self.logged.merge_attempt(own.attempt, own.logged, id);
        repeats
    }
}
