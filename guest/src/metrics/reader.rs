//! Reading metrics.jsonl back, all its parts merged in step order.

use super::attempts::Attempts;
use super::entry::Entry;
use super::tally::Tally;
use crate::imports::{File, Imports, Part};
use crate::lines::{Found, Lines};
use crate::{Error, Result};

/// Which entries a reader gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The first step.
    pub first_step: Option<u64>,
    /// The last step, included.
    pub last_step: Option<u64>,
    /// Epoch summaries too.
    pub summaries: bool,
    /// What a later attempt went over again, too.
    pub all_attempts: bool,
}

impl Query {
    fn takes(&self, entry: &Entry<'_>) -> bool {
        match entry.step {
            Some(step) => {
                self.first_step.is_none_or(|first| first <= step)
                    && self.last_step.is_none_or(|last| step <= last)
            }
            None => self.summaries,
        }
    }
}

/// Lines that were skipped because they are damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// How many.
    pub lines: u64,
    /// The first one: its part of the file, its number there, and what is wrong with it.
    pub first: Option<(Part, u64, String)>,
}

impl Damage {
    fn note(&mut self, part: Part, number: u64, problem: &str) {
        self.lines += 1;
        self.first.get_or_insert_with(|| (part, number, problem.to_owned()));
    }
}

/// One metric thinned out for a small chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The metric.
    pub name: String,
    /// Means of equal stretches of its finite samples, oldest first.
    pub points: Vec<f64>,
}

/// Reads metrics back.
pub struct MetricsReader<I> {
    imports: I,
    query: Query,
    parts: Vec<(Part, u64)>,
    attempts: Attempts,
    damage: Damage,
    /// Where `next` stands in each part.
    cursors: Option<Vec<Cursor<I>>>,
}

/// One part of the file and its next line.
struct Cursor<I> {
    part: Part,
    lines: Lines<I>,
    /// The line that comes next, and the step that it is sorted by: a summary goes with the step before.
    next: Option<String>,
    step: u64,
}

impl<I: Imports> MetricsReader<I> {
    /// Read what is there now.
    pub fn open(imports: &I, query: Query) -> Result<Self> {
        let mut parts = Vec::new();
        for part in imports.parts(File::Metrics)? {
            parts.push((part, imports.size(File::Metrics, part)?));
        }
        let mut reader = Self {
            imports: imports.clone(),
            query,
            parts,
            attempts: Attempts::default(),
            damage: Damage::default(),
            cursors: None,
        };
        if !query.all_attempts {
            let mut attempts = Attempts::default();
            reader.each(&mut |entry| {
                attempts.note(entry);
                Ok(())
            })?;
            reader.attempts = attempts;
        }
        Ok(reader)
    }

    /// The next lines that the query asks for, about `most` bytes of them; none at the end.
    pub fn next(&mut self, most: usize) -> Result<Option<String>> {
        let mut cursors = match self.cursors.take() {
            Some(cursors) => cursors,
            None => {
                self.damage = Damage::default();
                let mut cursors = Vec::with_capacity(self.parts.len());
                for (part, size) in self.parts.clone() {
                    let lines = Lines::range(&self.imports, File::Metrics, part, 0, size);
                    let mut cursor = Cursor { part, lines, next: None, step: 0 };
                    self.advance(&mut cursor)?;
                    cursors.push(cursor);
                }
                cursors
            }
        };
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
        self.cursors = Some(cursors);
        Ok((!block.is_empty()).then_some(block))
    }

    /// Statistics of the named metrics, or of all where none are named.
    pub fn statistics(&mut self, names: &[String]) -> Result<Tally> {
        let mut tally = Tally::default();
        let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
        self.each_taken(&mut |entry| tally.add_entry(entry, &wanted, &mut |_, _| {}))?;
        Ok(tally)
    }

    /// Every metric's statistics, and each thinned out to at most `points` points.
    pub fn overview(&mut self, points: usize) -> Result<(Tally, Vec<Series>)> {
        let mut tally = Tally::default();
        let mut thinned: Vec<Thinned> = Vec::new();
        self.each_taken(&mut |entry| {
            tally.add_entry(entry, &|_| true, &mut |number, sample| {
                let number = number as usize;
                if thinned.len() <= number {
                    thinned.resize_with(number + 1, Thinned::default);
                }
                thinned[number].add(sample);
            })
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
    fn advance(&mut self, cursor: &mut Cursor<I>) -> Result<()> {
        while let Some(line) = cursor.lines.next()? {
            match line.read(Entry::read) {
                Ok(Found { text, record: entry, fragment }) => {
                    if let Some((_, problem)) = fragment {
                        self.damage.note(cursor.part, line.number, problem);
                    }
                    if self.query.takes(&entry) && !self.attempts.supersede(&entry) {
                        cursor.step = entry.step.unwrap_or(cursor.step);
                        cursor.next = Some(text.to_owned());
                        return Ok(());
                    }
                }
                Err(problem) => self.damage.note(cursor.part, line.number, problem),
            }
        }
        Ok(())
    }

    /// Pass over every entry once.
    fn each(
        &mut self,
        visit: &mut dyn FnMut(&Entry<'_>) -> Result<(), crate::json::Problem>,
    ) -> Result<()> {
        self.damage = Damage::default();
        for &(part, size) in &self.parts {
            let mut lines = Lines::range(&self.imports, File::Metrics, part, 0, size);
            while let Some(line) = lines.next()? {
                let read = line.read(Entry::read);
                let problem = match read {
                    Ok(found) => visit(&found.record).err().or(found.fragment.map(|(_, p)| p)),
                    Err(problem) => Some(problem),
                };
                if let Some(problem) = problem {
                    self.damage.note(part, line.number, problem);
                }
            }
        }
        Ok(())
    }

    /// Pass over the entries that the query asks for.
    fn each_taken(
        &mut self,
        visit: &mut dyn FnMut(&Entry<'_>) -> Result<(), crate::json::Problem>,
    ) -> Result<()> {
        if self.query.first_step > self.query.last_step.or(self.query.first_step) {
            return Err(Error::Invalid("the first step lies behind the last".into()));
        }
        let attempts = std::mem::take(&mut self.attempts);
        let query = self.query;
        let read = self.each(&mut |entry| {
            if query.takes(entry) && !attempts.supersede(entry) { visit(entry) } else { Ok(()) }
        });
        self.attempts = attempts;
        read
    }
}

/// A stream of samples kept as a bounded number of means: when there are too many, neighbours become one.
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
