//! Reading metrics.jsonl back, all its parts merged in step order.

use std::collections::VecDeque;

use super::attempts::Attempts;
use super::entry::{Entry, Place};
use super::index::Stretch;
use super::scan::Scanner;
use super::survey::Survey;
use super::tally::Tally;
use crate::imports::{Imports, Part, RunFile};
use crate::lines::{Lines, ParsedLine};
use crate::{Error, Result};
use model_foundry_types::{Damage, DamagedLine, Query, Row, Series, part_name};

/// Whether a query selects an entry by its step.
fn selects(query: &Query, entry: &Place) -> bool {
    match entry.step {
        Some(step) => {
            query.first_step.is_none_or(|first| first <= step)
                && query.last_step.is_none_or(|last| step <= last)
        }
        None => query.summaries && query.first_step.is_none() && query.last_step.is_none(),
    }
}

/// Reads metrics back.
pub struct MetricsReader<I> {
    imports: I,
    query: Query,
    surveys: Vec<Survey>,
    /// Where the attempts began, over all parts; empty where all attempts are asked for.
    attempts: Attempts,
    damage: Damage,
    /// Where `next` continues.
    progress: Progress<I>,
    /// Lines that `next_rows` has read and not returned.
    unread: VecDeque<String>,
}

/// How far `next` has come.
enum Progress<I> {
    Unread,
    /// In the middle of a file that is given as it stands: the offset.
    Whole(u64),
    Merging(Vec<Cursor<I>>),
}

/// One part of the file and its next line.
struct Cursor<I> {
    part: Part,
    /// Where lines that the query asks for may be.
    ranges: VecDeque<(u64, u64)>,
    lines: Lines<I>,
    /// The line that comes next, and the step that it is sorted by: a summary goes with the step before.
    next: Option<String>,
    step: u64,
}

impl<I: Imports> MetricsReader<I> {
    /// Read what is there now.
    pub fn open(imports: &I, query: Query) -> Result<Self> {
        if let (Some(first), Some(last)) = (query.first_step, query.last_step)
            && first > last
        {
            return Err(Error::Invalid(format!(
                "invalid range: first step {first} is greater than last step {last}"
            )));
        }
        let mut surveys = Vec::new();
        let mut attempts = Attempts::default();
        let mut damage = Damage::default();
        for part in imports.parts(RunFile::METRICS)? {
            let survey = Survey::of(imports, part)?;
            if part.rank.is_none() {
                survey.save(imports);
            }
            if !query.all_attempts {
                attempts.merge(&survey.index.attempts);
            }
            damage.lines += survey.index.damaged;
            if let (None, Some((line, problem))) = (&damage.first, survey.first_damage) {
                damage.first = Some(DamagedLine {
                    file: part_name(RunFile::METRICS.0, part),
                    line,
                    problem: problem.to_owned(),
                });
            }
            surveys.push(survey);
        }
        let imports = imports.clone();
        Ok(Self {
            imports,
            query,
            surveys,
            attempts,
            damage,
            progress: Progress::Unread,
            unread: VecDeque::new(),
        })
    }

    /// The highest step in all of metrics.jsonl.
    pub fn last_step(&self) -> Option<u64> {
        self.surveys.iter().filter_map(|survey| survey.index.highest_step).max()
    }

    /// The next lines that the query selects, about `most` bytes of them; none at the end.
    pub fn next(&mut self, most: usize) -> Result<Option<String>> {
        if !self.unread.is_empty() {
            let lines = self.unread.drain(..).map(|line| line + "\n");
            return Ok(Some(lines.collect()));
        }
        if matches!(self.progress, Progress::Unread) {
            self.progress = self.begin()?;
        }
        match std::mem::replace(&mut self.progress, Progress::Unread) {
            Progress::Whole(offset) => {
                let next = self.next_whole(offset, most);
                // After an error the same lines are asked for again, and none twice.
                self.progress = Progress::Whole(next.as_ref().map_or(offset, |(_, next)| *next));
                next.map(|(block, _)| block)
            }
            Progress::Merging(mut cursors) => {
                let block = self.next_merged(&mut cursors, most);
                self.progress = Progress::Merging(cursors);
                block
            }
            Progress::Unread => Ok(None),
        }
    }

    /// The next entries that the query selects, at most `count` of them; none at the end.
    pub fn next_rows(&mut self, count: usize) -> Result<Vec<Row>> {
        /// How many bytes of lines are read at a time.
        const BLOCK: usize = 64 << 10;
        let mut rows = Vec::new();
        while rows.len() < count {
            let line = match self.unread.pop_front() {
                Some(line) => line,
                None => match self.next(BLOCK)? {
                    Some(block) => {
                        self.unread.extend(block.lines().map(str::to_owned));
                        continue;
                    }
                    None => break,
                },
            };
            // Lines that are not good were left out before.
            rows.extend(Entry::read(&line).and_then(|entry| entry.row()));
        }
        Ok(rows)
    }

    fn begin(&self) -> Result<Progress<I>> {
        let query = &self.query;
        let everything = query.first_step.is_none() && query.last_step.is_none() && query.summaries;
        if let ([survey], true) = (&*self.surveys, everything)
            && survey.tells_all(false)
            && !survey.index.gaps
            && (query.all_attempts || !survey.index.superseded)
        {
            return Ok(Progress::Whole(0));
        }
        let mut cursors = Vec::with_capacity(self.surveys.len());
        for survey in &self.surveys {
            let mut cursor = Cursor {
                part: survey.part,
                ranges: ranges(survey, query),
                lines: Lines::range(&self.imports, RunFile::METRICS, survey.part, 0, 0),
                next: None,
                step: 0,
            };
            self.advance(&mut cursor)?;
            cursors.push(cursor);
        }
        Ok(Progress::Merging(cursors))
    }

    /// A block of the file as it stands: every line of it was found good.
    fn next_whole(&self, offset: u64, most: usize) -> Result<(Option<String>, u64)> {
        let Some(survey) = self.surveys.first() else { return Ok((None, offset)) };
        let left = survey.index.covered.saturating_sub(offset);
        let mut length = left.min(most.max(1) as u64);
        while length > 0 {
            let wanted = u32::try_from(length).unwrap_or(u32::MAX);
            let mut bytes = self.imports.read(RunFile::METRICS, survey.part, offset, wanted)?;
            if let Some(end) = memchr::memrchr(b'\n', &bytes) {
                bytes.truncate(end + 1);
                let next = offset + bytes.len() as u64;
                // The lines were UTF-8 when they were surveyed.
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

    fn next_merged(&self, cursors: &mut [Cursor<I>], most: usize) -> Result<Option<String>> {
        let mut block = String::new();
        // Of equal steps the first part's comes first: `min_by_key` takes the first minimum.
        while let Some(first) = cursors
            .iter_mut()
            .filter(|cursor| cursor.next.is_some())
            .min_by_key(|cursor| cursor.step)
        {
            if let Some(line) = first.next.take() {
                block.push_str(&line);
                block.push('\n');
            }
            self.advance(first)?;
            if block.len() >= most {
                break;
            }
        }
        Ok((!block.is_empty()).then_some(block))
    }

    /// Statistics of the named metrics, or of all where none are named.
    pub fn statistics(&mut self, names: &[String]) -> Result<Tally> {
        let query = &self.query;
        if let [survey] = &*self.surveys
            && query.first_step.is_none()
            && query.last_step.is_none()
            && survey.tells_all(query.all_attempts)
        {
            return Ok(survey.index.tally.only(names));
        }
        Ok(self.take(&mut |_, _| {})?.only(names))
    }

    /// Every metric's statistics, and each thinned out to at most `points` points.
    pub fn overview(&mut self, points: usize) -> Result<(Tally, Vec<Series>)> {
        let mut thinned: Vec<Thinned> = Vec::new();
        let tally = self.take(&mut |number, sample| {
            let number = number as usize;
            if thinned.len() <= number {
                thinned.resize_with(number + 1, Thinned::default);
            }
            thinned[number].add(sample);
        })?;
        let series = thinned
            .iter()
            .enumerate()
            .map(|(number, thinned)| Series {
                name: tally.name(number as u32).to_owned(),
                points: thinned.points(points),
            })
            .collect();
        Ok((tally, series))
    }

    /// What was damaged in what this reader has read.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Put the part's next line that the query asks for into its cursor.
    fn advance(&self, cursor: &mut Cursor<I>) -> Result<()> {
        loop {
            while let Some(line) = cursor.lines.next()? {
                // Damage was counted by the survey.
                let Ok(ParsedLine { text, record: entry, .. }) = line.read(Entry::read) else {
                    continue;
                };
                if self.takes(&entry) {
                    cursor.step = entry.step.unwrap_or(cursor.step);
                    cursor.next = Some(text.to_owned());
                    return Ok(());
                }
            }
            let Some((from, to)) = cursor.ranges.pop_front() else { return Ok(()) };
            cursor.lines = Lines::range(&self.imports, RunFile::METRICS, cursor.part, from, to);
        }
    }

    /// The statistics of the entries that the query asks for; each sample is shown with its metric's number.
    fn take(&self, sample: &mut dyn FnMut(u32, f64)) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut scanner = Scanner::default();
        for survey in &self.surveys {
            for (from, to) in ranges(survey, &self.query) {
                let mut lines =
                    Lines::range(&self.imports, RunFile::METRICS, survey.part, from, to);
                while let Some(line) = lines.next()? {
                    if let Some(place) = scanner.read(&line) {
                        if self.takes(&place) {
                            scanner.count(&mut tally, &place, sample);
                        }
                    } else if let Ok(ParsedLine { record: entry, .. }) = line.read(Entry::read)
                        && self.takes(&entry)
                    {
                        // Damage was counted by the survey.
                        let _ = tally.add_entry(&entry, sample);
                    }
                }
            }
        }
        Ok(tally)
    }

    /// Whether the query asks for an entry, and no later attempt went over it again.
    fn takes(&self, entry: &Place) -> bool {
        selects(&self.query, entry) && !self.attempts.supersede(entry)
    }
}

/// Where in a part lines may be that a query asks for: stretches whose steps overlap its range, neighbors
/// as one.
fn ranges(survey: &Survey, query: &Query) -> VecDeque<(u64, u64)> {
    let (first, last) = (query.first_step.unwrap_or(0), query.last_step.unwrap_or(u64::MAX));
    let stretches = &survey.index.stretches;
    let mut ranges: VecDeque<(u64, u64)> = VecDeque::new();
    for (at, Stretch { offset, steps }) in stretches.iter().enumerate() {
        let end = stretches.get(at + 1).map_or(survey.size, |next| next.offset);
        let everything = query.first_step.is_none() && query.last_step.is_none();
        if !everything && (steps.0 > last || first > steps.1) {
            continue;
        }
        match ranges.back_mut() {
            Some((_, to)) if *to == *offset => *to = end,
            _ => ranges.push_back((*offset, end)),
        }
    }
    ranges
}

/// A stream of samples kept as a bounded number of means: when there are too many, neighbors become one.
#[derive(Default)]
struct Thinned {
    /// Sum and count of each stretch.
    stretches: Vec<(f64, u32)>,
    /// How many samples a stretch holds.
    width: u32,
}

impl Thinned {
    const MOST: usize = 512;

    fn add(&mut self, sample: f64) {
        if !sample.is_finite() {
            return;
        }
        self.width = self.width.max(1);
        match self.stretches.last_mut() {
            Some((sum, count)) if *count < self.width => {
                *sum += sample;
                *count += 1;
            }
            _ => self.stretches.push((sample, 1)),
        }
        if self.stretches.len() > Self::MOST {
            self.stretches = self
                .stretches
                .chunks(2)
                .map(|pair| pair.iter().fold((0.0, 0), |(sum, n), (s, c)| (sum + s, n + c)))
                .collect();
            self.width *= 2;
        }
    }

    fn points(&self, points: usize) -> Vec<f64> {
        let stretch = self.stretches.len().div_ceil(points.max(1)).max(1);
        self.stretches
            .chunks(stretch)
            .map(|stretches| {
                let (sum, count) =
                    stretches.iter().fold((0.0, 0), |(sum, n), (s, c)| (sum + s, n + c));
                sum / f64::from(count)
            })
            .collect()
    }
}
