//! Reading metrics.jsonl back, all its parts merged in step order.

use std::collections::VecDeque;

use super::entry::{Entry, EntryKey};
use super::index::{AllTrends, Segment};
use super::metric_statistics::{AllStatistics, MetricStatistics};
use super::part_scan::PartScan;
use super::scan::Scanner;
use super::superseded::Logged;
use super::trend::Bucket;
use crate::imports::{Imports, Part, RunFile};
use crate::json::{Problem, unescape};
use crate::lines::{BUDGET, ParsedLine, Ranges, Stop};
use crate::{Error, Result};
use model_foundry_types::{Damage, DamagedLine, Omitted, Purpose, Query, Row, Series, part_name};

/// Whether a query selects an entry by its step and its attempt.
fn selects(query: &Query, entry: &EntryKey) -> bool {
    if query.attempt.is_some_and(|attempt| attempt != entry.attempt) {
        return false;
    }
    match entry.step {
        Some(step) => {
            query.first_step.is_none_or(|first| first <= step)
                && query.last_step.is_none_or(|last| step <= last)
        }
        None => query.summaries && query.first_step.is_none() && query.last_step.is_none(),
    }
}

/// A metric's samples in buckets of equal size.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricBuckets {
    /// The metric.
    pub name: String,
    /// The buckets, oldest first.
    pub buckets: Vec<Bucket>,
    /// Whether the samples are the metric's values in epoch summaries, and not in steps.
    pub of_summaries: bool,
}

impl MetricBuckets {
    /// The means of the buckets that have finite samples.
    pub fn series(&self) -> Series {
        let points = self.buckets.iter().filter_map(Bucket::mean).collect();
        Series { name: self.name.clone(), points, of_summaries: self.of_summaries }
    }
}

/// Reads metrics back.
///
/// Reading a long file takes minutes, and is done in several calls of [`advance`](Self::advance). The other methods
/// do the whole work that is left for them.
pub struct MetricsReader<I> {
    imports: I,
    query: Query,
    /// The parts of the file, and the size of each when it was opened.
    parts: Vec<(Part, u64)>,
    part_scans: Vec<PartScan<I>>,
    /// What the attempts logged, over all parts, once they are scanned.
    attempts: Option<Attempts>,
    pass: Option<Pass<I>>,
    /// What `next` has omitted.
    omitted: Omitted,
    /// Where `next` continues.
    progress: Progress<I>,
    /// Lines that `next_rows` has read and not returned.
    unread: VecDeque<String>,
}

/// How far `next` has come.
enum Progress<I> {
    Unread,
    /// In the middle of a file that is returned as it is: the offset.
    Whole(u64),
    Merging(Merging<I>),
}

struct Merging<I> {
    cursors: Vec<Cursor<I>>,
    /// The lines that come next.
    block: String,
    omitted: Omitted,
}

/// One part of the file and its next line.
struct Cursor<I> {
    ranges: Ranges<I>,
    /// The line that comes next, and the step that it is sorted by: a summary goes with the step before.
    next: Option<String>,
    step: u64,
    at_end: bool,
}

/// A pass over the lines that the query asks for.
struct Pass<I> {
    ranges: Ranges<I>,
    scanner: Scanner,
    members: Vec<(u32, Option<f64>)>,
    statistics: AllStatistics,
    trends: AllTrends,
    omitted: Omitted,
    at_end: bool,
}

/// What the attempts logged, over all parts of the file.
struct Attempts {
    /// The metrics, by their ids in `logged`, without samples.
    names: AllStatistics,
    logged: Logged,
}

impl Attempts {
    fn of<I: Imports>(part_scans: &[PartScan<I>]) -> Self {
        let mut names = AllStatistics::default();
        let mut logged = Logged::default();
        for part_scan in part_scans {
            let index = &part_scan.index;
            let ids: Vec<_> = index
                .statistics
                .steps
                .iter()
                .map(|(name, _)| names.steps.metric_id(name))
                .collect();
            index.statistics.summaries.iter().for_each(|(name, _)| {
                names.summaries.metric_id(name);
            });
            for (attempt, steps) in &index.logged.later {
                logged
                    .merge_attempt(*attempt, steps, |metric| ids.get(metric as usize).copied()?);
            }
        }
        Self { names, logged }
    }
}

impl<I: Imports> MetricsReader<I> {
    /// Open the file as it is now.
    pub fn open(imports: &I, query: Query) -> Result<Self> {
        if let (Some(first), Some(last)) = (query.first_step, query.last_step)
            && first > last
        {
            return Err(Error::Invalid(format!(
                "invalid range: first step {first} is greater than last step {last}"
            )));
        }
        let parts = imports.parts(RunFile::METRICS)?.into_iter();
        let parts = parts.map(|part| Ok((part, imports.size(RunFile::METRICS, part)?)));
        Ok(Self {
            imports: imports.clone(),
            query,
            parts: parts.collect::<Result<_>>()?,
            part_scans: Vec::new(),
            attempts: None,
            pass: None,
            omitted: Omitted::default(),
            progress: Progress::Unread,
            unread: VecDeque::new(),
        })
    }

    /// Do a part of the work for a purpose: read about `budget` bytes. True when nothing is left to do. After an
    /// error it can be called again.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn advance(&mut self, purpose: Purpose, mut budget: u64) -> Result<bool> {
        let buckets = purpose == Purpose::Overview;
        if self.attempts.is_none() {
            for at in 0..self.parts.len() {
                if at == self.part_scans.len() {
                    let (part, size) = self.parts[at];
                    self.part_scans.push(PartScan::begin(&self.imports, part, size, buckets, None));
                }
                let part_scan = &mut self.part_scans[at];
                let done = part_scan.advance(&mut budget)?;
                if part_scan.part.rank.is_none() {
                    part_scan.save();
                }
                if !done {
                    return Ok(false);
                }
            }
            self.attempts = Some(Attempts::of(&self.part_scans));
        }
        if purpose == Purpose::Lines {
            return Ok(true);
        }
        if let [part_scan] = &mut *self.part_scans
            && self.query.first_step.is_none()
            && self.query.last_step.is_none()
            && self.query.attempt.is_none()
            && (!self.query.all_attempts || part_scan.index.omitted == Omitted::default())
        {
            if !buckets || part_scan.trends().is_some() {
                return Ok(true);
            }
            // The index was read without its buckets.
            let (part, size) = (part_scan.part, part_scan.size);
            *part_scan = PartScan::begin(&self.imports, part, size, buckets, None);
            self.attempts = None;
            return self.advance(purpose, budget);
        }
        self.read_pass(&mut budget)
    }

    /// Do the whole work for a purpose.
    fn prepare(&mut self, purpose: Purpose) -> Result<()> {
        while !self.advance(purpose, u64::MAX)? {}
        Ok(())
    }

    /// The highest step in all of metrics.jsonl.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn last_step(&mut self) -> Result<Option<u64>> {
        self.prepare(Purpose::Lines)?;
        Ok(self.part_scans.iter().filter_map(|part_scan| part_scan.index.highest_step).max())
    }

    /// The next lines that the query selects, about `most` bytes of them; none at the end. The text is empty if
    /// [`BUDGET`] bytes were read and the query selects none of their lines.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn next(&mut self, most: usize) -> Result<Option<String>> {
        let mut budget = BUDGET;
        self.next_within(most, &mut budget)
    }

    /// As [`next`](Self::next), within a budget of bytes.
    fn next_within(&mut self, most: usize, budget: &mut u64) -> Result<Option<String>> {
        if !self.unread.is_empty() {
            let lines = self.unread.drain(..).map(|line| line + "\n");
            return Ok(Some(lines.collect()));
        }
        self.prepare(Purpose::Lines)?;
        if matches!(self.progress, Progress::Unread) {
            self.progress = self.begin();
        }
        match std::mem::replace(&mut self.progress, Progress::Unread) {
            Progress::Whole(offset) => {
                let next = self.next_whole(offset, most);
                // After an error the same lines are asked for again, and none twice.
                self.progress = Progress::Whole(next.as_ref().map_or(offset, |(_, next)| *next));
                next.map(|(block, _)| block)
            }
            Progress::Merging(mut merging) => {
                let block = self.next_merged(&mut merging, most, budget);
                self.omitted = merging.omitted;
                self.progress = Progress::Merging(merging);
                block
            }
            Progress::Unread => Ok(None),
        }
    }

    /// The next entries that the query selects, at most `count` of them; none at the end. There are none in the list
    /// if [`BUDGET`] bytes were read and the query selects none of their lines.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn next_rows(&mut self, count: usize) -> Result<Option<Vec<Row>>> {
        /// How many bytes of lines are read at a time.
        const BLOCK: usize = 64 << 10;
        let mut budget = BUDGET;
        let mut rows = Vec::new();
        while rows.len() < count {
            let line = match self.unread.pop_front() {
                Some(line) => line,
                None => match self.next_within(BLOCK, &mut budget)? {
                    Some(block) if block.is_empty() => return Ok(Some(rows)),
                    Some(block) => {
                        self.unread.extend(block.lines().map(str::to_owned));
                        continue;
                    }
                    None if rows.is_empty() => return Ok(None),
                    None => break,
                },
            };
            // Damaged lines were omitted before.
            rows.extend(Entry::read(&line).and_then(|entry| entry.row()));
        }
        Ok(Some(rows))
    }

    fn begin(&self) -> Progress<I> {
        let query = &self.query;
        let everything = query.first_step.is_none() && query.last_step.is_none() && query.summaries;
        if let ([part_scan], true) = (&*self.part_scans, everything)
            && part_scan.damaged() == 0
            && !part_scan.index.gaps
            && query.attempt.is_none()
            && (query.all_attempts || part_scan.index.omitted == Omitted::default())
        {
            return Progress::Whole(0);
        }
        let cursor = |part_scan: &PartScan<I>| Cursor {
            ranges: Ranges::new(&self.imports, RunFile::METRICS, ranges(part_scan, query)),
            next: None,
            step: 0,
            at_end: false,
        };
        let cursors = self.part_scans.iter().map(cursor).collect();
        let (block, omitted) = (String::new(), self.omitted);
        Progress::Merging(Merging { cursors, block, omitted })
    }

    /// A block of the file as it is: none of its lines is damaged.
    fn next_whole(&self, offset: u64, most: usize) -> Result<(Option<String>, u64)> {
        let Some(part_scan) = self.part_scans.first() else { return Ok((None, offset)) };
        let left = part_scan.index.covered.saturating_sub(offset);
        let mut length = left.min(most.max(1) as u64);
        while length > 0 {
            let wanted = u32::try_from(length).unwrap_or(u32::MAX);
            let mut bytes = self.imports.read(RunFile::METRICS, part_scan.part, offset, wanted)?;
            if let Some(end) = memchr::memrchr(b'\n', &bytes) {
                bytes.truncate(end + 1);
                let next = offset + bytes.len() as u64;
                // The lines were UTF-8 when they were scanned.
                return Ok((String::from_utf8(bytes).ok(), next));
            }
            if length == left {
                break;
            }
            // A line longer than the block.
            length = (length * 2).min(left);
        }
        Ok((None, offset))
    }

    fn next_merged(
        &self,
        merging: &mut Merging<I>,
        most: usize,
        budget: &mut u64,
    ) -> Result<Option<String>> {
        let Merging { cursors, block, omitted } = merging;
        while block.len() < most.max(1) {
            for cursor in cursors.iter_mut().filter(|cursor| cursor.next.is_none()) {
                if !self.find_next(cursor, budget, omitted)? {
                    return Ok(Some(std::mem::take(block)));
                }
            }
            // Of equal steps the first part's comes first: `min_by_key` takes the first minimum.
            let cursors = cursors.iter_mut().filter(|cursor| cursor.next.is_some());
            let Some(first) = cursors.min_by_key(|cursor| cursor.step) else { break };
            if let Some(line) = first.next.take() {
                block.push_str(&line);
                block.push('\n');
            }
        }
        Ok((!block.is_empty()).then(|| std::mem::take(block)))
    }

    /// Put the part's next line that the query asks for into its cursor; false if the budget does not suffice.
    fn find_next(
        &self,
        cursor: &mut Cursor<I>,
        budget: &mut u64,
        omitted: &mut Omitted,
    ) -> Result<bool> {
        let Cursor { ranges, next, step, at_end } = cursor;
        if *at_end {
            return Ok(true);
        }
        let stop = ranges.find(budget, &mut |line| {
            // Damage was counted by the scan of the part.
            let Ok(ParsedLine { text, record: entry, .. }) = line.read(Entry::read) else {
                return false;
            };
            if !selects(&self.query, &entry) {
                return false;
            }
            *next = match self.shown(&entry) {
                Ok(Shown::Whole) | Err(_) => Some(text.to_owned()),
                Ok(Shown::Without(names)) => {
                    omitted.values += names.len() as u64;
                    Some(entry.without(text, &names))
                }
                Ok(Shown::Nothing) => {
                    omitted.rows += 1;
                    None
                }
            };
            *step = entry.step.unwrap_or(*step);
            next.is_some()
        })?;
        *at_end = stop == Stop::End;
        Ok(stop != Stop::Budget)
    }

    /// What no later attempt logged again, of an entry that the query selects.
    fn shown<'a>(&self, entry: &Entry<'a>) -> std::result::Result<Shown<'a>, Problem> {
        let Some(Attempts { names, logged }) = self
            .attempts
            .as_ref()
            .filter(|attempts| omits(&self.query) && attempts.logged.has_after(entry.attempt))
        else {
            return Ok(Shown::Whole);
        };
        let Some(step) = entry.step else {
            let epoch = entry.epoch.unwrap_or(f64::NAN);
            let superseded = logged.supersede_epoch(entry.attempt, epoch);
            return Ok(if superseded { Shown::Nothing } else { Shown::Whole });
        };
        let (mut all, mut omitted) = (0, Vec::new());
        entry.members(&mut |name, _| {
            all += 1;
            let id = names.steps.id(&unescape(name));
            if id.is_some_and(|id| logged.supersede(entry.attempt, id, step)) {
                omitted.push(name);
            }
        })?;
        Ok(match omitted.len() {
            0 => Shown::Whole,
            count if count == all => Shown::Nothing,
            _ => Shown::Without(omitted),
        })
    }

    /// Statistics of the named metrics, or of all where none are named.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn statistics(&mut self, names: &[String]) -> Result<AllStatistics> {
        self.prepare(Purpose::Statistics)?;
        let mut found = self.found().map(|(all, _)| all.only(names)).unwrap_or_default();
        if !self.query.summaries {
            found.summaries = MetricStatistics::default();
        }
        Ok(found)
    }

    /// Every metric's statistics, and its samples in at most `points` buckets.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn overview(&mut self, points: usize) -> Result<(AllStatistics, Vec<MetricBuckets>)> {
        self.prepare(Purpose::Overview)?;
        let Some((statistics, trends)) = self.found() else { return Ok(Default::default()) };
        let mut series = Vec::new();
        let all = [(&statistics.steps, false), (&statistics.summaries, true)];
        let all = all.into_iter().filter(|(_, summaries)| !summaries || self.query.summaries);
        for (trends, (metrics, of_summaries)) in trends.into_iter().flatten().zip(all) {
            let trends = trends.all().iter().zip(0..).filter(|(trend, _)| !trend.is_empty());
            series.extend(trends.map(|(trend, id)| MetricBuckets {
                name: metrics.name(id).to_owned(),
                buckets: trend.at_most(points),
                of_summaries,
            }));
        }
        Ok((self.statistics(&[])?, series))
    }

    /// What was omitted because a later attempt logged it again: of all that the query selects, if statistics or an
    /// overview were read; else of what [`next`](Self::next) has passed.
    pub fn omitted(&self) -> Omitted {
        match (&self.pass, &self.progress, &*self.part_scans) {
            (Some(pass), ..) => pass.omitted,
            (None, Progress::Unread, [part_scan]) if omits(&self.query) => part_scan.index.omitted,
            _ => self.omitted,
        }
    }

    /// The damaged lines among those that this reader has read.
    pub fn damage(&self) -> Damage {
        let first = |part_scan: &PartScan<I>| {
            let (line, problem) = part_scan.first_damage()?;
            Some(DamagedLine { file: part_name(RunFile::METRICS.0, part_scan.part), line, problem })
        };
        Damage {
            lines: self.part_scans.iter().map(PartScan::damaged).sum(),
            first: self.part_scans.iter().find_map(first),
        }
    }

    /// What the pass has found, or the scan of the part if no pass was necessary.
    fn found(&self) -> Option<(&AllStatistics, Option<&AllTrends>)> {
        match &self.pass {
            Some(pass) => Some((&pass.statistics, Some(&pass.trends))),
            None => self
                .part_scans
                .first()
                .map(|part_scan| (&part_scan.index.statistics, part_scan.trends())),
        }
    }

    /// Continue the pass over the lines that the query asks for. True at the end.
    fn read_pass(&mut self, budget: &mut u64) -> Result<bool> {
        let Some(Attempts { names, logged }) = &self.attempts else { return Ok(true) };
        let pass = self.pass.get_or_insert_with(|| {
            let ranges =
                self.part_scans.iter().flat_map(|part_scan| ranges(part_scan, &self.query));
            Pass {
                ranges: Ranges::new(&self.imports, RunFile::METRICS, ranges.collect()),
                scanner: Scanner::default(),
                members: Vec::new(),
                // With the same ids.
                statistics: names.clone(),
                trends: AllTrends::default(),
                omitted: Omitted::default(),
                at_end: false,
            }
        });
        let Pass { ranges, scanner, members, statistics, trends, omitted, at_end } = pass;
        let query = &self.query;
        let omits = omits(query);
        while !*at_end && *budget > 0 {
            let stop = ranges.find(budget, &mut |line| {
                let key = if let Some(key) = scanner.read(line) {
                    if !selects(query, &key) {
                        return false;
                    }
                    scanner.identify(&mut statistics.steps);
                    members.clear();
                    members.extend(scanner.members());
                    key
                } else {
                    // Damage was counted by the scan of the part.
                    let Ok(ParsedLine { record: entry, .. }) = line.read(Entry::read) else {
                        return false;
                    };
                    if !selects(query, &entry) {
                        return false;
                    }
                    let _ = statistics.identify(&entry, members);
                    entry.key
                };
                let omits = omits && logged.has_after(key.attempt);
                let epoch = key.epoch.unwrap_or(f64::NAN);
                if key.step.is_none() && omits && logged.supersede_epoch(key.attempt, epoch) {
                    omitted.rows += 1;
                    return false;
                }
                let step = key.step.unwrap_or(epoch as u64);
                let before = members.len();
                if key.step.is_some() && omits {
                    members.retain(|(id, _)| !logged.supersede(key.attempt, *id, step));
                }
                if members.len() < before {
                    omitted.add(members.len() as u64, (before - members.len()) as u64);
                }
                let of_summaries = key.step.is_none();
                for &(id, value) in &*members {
                    if let Some(value) = value {
                        statistics.of(of_summaries).add(id, step, value);
                        trends[usize::from(of_summaries)].add(id, step, value);
                    }
                }
                false
            })?;
            *at_end = stop == Stop::End;
        }
        Ok(*at_end)
    }
}

/// What is shown of an entry.
enum Shown<'a> {
    Whole,
    /// All but these metrics, as they are written.
    Without(Vec<&'a str>),
    Nothing,
}

/// Whether what a later attempt logged again is omitted.
fn omits(query: &Query) -> bool {
    !query.all_attempts && query.attempt.is_none()
}

/// Where in a part lines may be that a query asks for: segments whose steps overlap its range, neighbors
/// as one.
fn ranges<I>(part_scan: &PartScan<I>, query: &Query) -> VecDeque<(Part, u64, u64)> {
    let (first, last) = (query.first_step.unwrap_or(0), query.last_step.unwrap_or(u64::MAX));
    let segments = &part_scan.index.segments;
    let mut ranges: VecDeque<(Part, u64, u64)> = VecDeque::new();
    for (at, Segment { offset, steps }) in segments.iter().enumerate() {
        let end = segments.get(at + 1).map_or(part_scan.size, |next| next.offset);
        let everything = query.first_step.is_none() && query.last_step.is_none();
        if !everything && (steps.0 > last || first > steps.1) {
            continue;
        }
        match ranges.back_mut() {
            Some((_, _, to)) if *to == *offset => *to = end,
            _ => ranges.push_back((part_scan.part, *offset, end)),
        }
    }
    ranges
}
