//! Writing metrics.jsonl.

use super::columns::{Column, ColumnSet, Kind};
use super::entry::Entry;
use super::row::{Head, NonFinite, write_number};
use super::survey::Survey;
use super::tally::Tally;
use super::wandb_copy::WandbCopy;
use crate::imports::{File, Imports, Part};
use crate::json;
use crate::line_buffer::{Fragment, LineBuffer};
use crate::lines::{Lines, ParsedLine};
use crate::statistics::Statistics;
use crate::structured::LARGEST_RECORD;
use crate::timestamp::Timestamps;
use crate::value::{Field, ValueRef, each, last_of_each};
use crate::wandb::RunInfo;
use crate::{Error, Result};

/// The most room that is kept for the next rows, in bytes.
const LARGEST_KEPT: usize = 1 << 20;

/// How many sets of columns a logger remembers.
const MOST_COLUMN_SETS: usize = 1024;

/// How a metrics logger is opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Which attempt at the experiment this is, from 1.
    pub attempt: u32,
    /// The part of metrics.jsonl that the host appends to.
    pub part: Part,
    /// A Weights & Biases offline run to write, if any.
    pub wandb: Option<RunInfo>,
}

/// What was in the file before this logger.
struct Earlier {
    /// How much of its part of the file.
    size: u64,
    /// Its statistics and the step at which it was cut off, once they were asked for.
    tally: Option<(Option<u64>, Tally)>,
}

/// Writes metrics and keeps their statistics.
pub struct MetricsLogger<I> {
    imports: I,
    attempt: u32,
    part: Part,
    columns: Vec<ColumnSet>,
    tally: Tally,
    /// The lowest step this logger wrote: what an earlier attempt logged from there on no longer counts.
    lowest_step: Option<u64>,
    earlier: Earlier,
    timestamps: Timestamps,
    line: LineBuffer,
    non_finite: NonFinite,
    wandb: Option<WandbCopy>,
}

impl<I: Imports> MetricsLogger<I> {
    /// Open metrics.jsonl to append to it.
    pub fn open(imports: &I, options: Options) -> Result<Self> {
        let size = imports.size(File::Metrics, options.part)?;
        let wandb = options.wandb.as_ref().map(WandbCopy::begin);
        Ok(Self {
            imports: imports.clone(),
            attempt: options.attempt.max(1),
            part: options.part,
            columns: Vec::new(),
            tally: Tally::default(),
            lowest_step: None,
            earlier: Earlier { size, tally: None },
            timestamps: Timestamps::default(),
            line: LineBuffer::new(),
            non_finite: NonFinite::default(),
            wandb,
        })
    }

    /// Name columns once; the same columns get the same number.
    pub fn columns(&mut self, columns: Vec<Column>) -> Result<u32> {
        if let Some(at) = self.columns.iter().position(|set| set.columns == columns) {
            return Ok(at as u32);
        }
        if self.columns.len() >= MOST_COLUMN_SETS {
            return Err(Error::Limit(format!(
                "more than {MOST_COLUMN_SETS} sets of columns: log such steps by name"
            )));
        }
        self.columns.push(ColumnSet::new(columns, &mut self.tally)?);
        Ok((self.columns.len() - 1) as u32)
    }

    /// How many columns there are under a number.
    pub fn width(&self, columns: u32) -> Result<usize> {
        Ok(self.column_set(columns)?.columns.len())
    }

    /// Log one row: a value for each of the columns. The time is in microseconds since
    /// 1970-01-01T00:00:00Z, an epoch of NaN is none.
    pub fn log_row(
        &mut self,
        columns: u32,
        time: u64,
        step: u64,
        epoch: f64,
        values: &[f64],
    ) -> Result<()> {
        self.line.clear();
        self.write_row(columns, time, step, epoch, values)?;
        self.append()?;
        self.tell_uncounted(columns)
    }

    /// Log many rows in one write. An epoch of NaN is none.
    pub fn log_rows(
        &mut self,
        columns: u32,
        times: &[u64],
        steps: &[u64],
        epochs: &[f64],
        values: &[f64],
    ) -> Result<()> {
        let rows = steps.len();
        let width = self.width(columns)?;
        if times.len() != rows || epochs.len() != rows || values.len() != rows * width {
            return Err(Error::Invalid(format!(
                "{rows} rows of {width} columns need as many times and epochs and {} values, \
                 not {}, {} and {}",
                rows * width,
                times.len(),
                epochs.len(),
                values.len()
            )));
        }
        self.line.clear();
        for row in 0..rows {
            let values = &values[row * width..(row + 1) * width];
            self.write_row(columns, times[row], steps[row], epochs[row], values)?;
        }
        self.append()?;
        self.tell_uncounted(columns)
    }

    /// An error if one of the columns is a metric too many to be counted.
    #[inline]
    fn tell_uncounted(&self, columns: u32) -> Result<()> {
        match self.column_set(columns)?.uncounted() {
            None => Ok(()),
            Some(name) => Err(uncounted(name)),
        }
    }

    /// Log a step's metrics by name; a later one of the same name wins.
    pub fn log_step(
        &mut self,
        step: u64,
        epoch: Option<f64>,
        metrics: &[Field],
        step_inferred: bool,
    ) -> Result<()> {
        let time = self.imports.now();
        let attempt = self.attempt;
        self.line.clear();
        Head { time, step: Some(step), epoch, attempt, step_inferred }
            .write(&mut self.line, &mut self.timestamps);
        self.write_fields("metrics", metrics)?;
        let mut refused = None;
        for (name, value) in last_of_each(each(metrics)) {
            let Some(sample) = value.as_number() else { continue };
            match self.tally.number(name) {
                Some(number) => self.tally.add(number, step, sample),
                None => refused = Some(name),
            }
        }
        self.note_step(step);
        self.note_wandb(step, time);
        self.append()?;
        match refused {
            None => Ok(()),
            Some(name) => Err(uncounted(name)),
        }
    }

    /// Log an epoch's summary.
    pub fn log_epoch_summary(&mut self, epoch: f64, summary: &[Field]) -> Result<()> {
        if !epoch.is_finite() {
            return Err(Error::Invalid(format!("the epoch must be a finite number, not {epoch}")));
        }
        let time = self.imports.now();
        self.line.clear();
        let head = Head {
            time,
            step: None,
            epoch: Some(epoch),
            attempt: self.attempt,
            step_inferred: false,
        };
        head.write(&mut self.line, &mut self.timestamps);
        self.write_fields("summary", summary)?;
        if let Some(wandb) = &mut self.wandb {
            // Weights & Biases has steps alone: a summary stands at the latest.
            let mut text = LineBuffer::new();
            write_number(&mut text, epoch);
            wandb.note("epoch", &text, epoch);
            wandb.history(None, time);
        }
        self.append()
    }

    /// One metric's statistics over what is on disk and what this logger wrote.
    pub fn statistics(&mut self, name: &str) -> Result<Statistics> {
        let mut statistics = self.earlier()?.get(name).cloned().unwrap_or_default();
        if let Some(own) = self.tally.get(name) {
            statistics.merge(own);
        }
        Ok(statistics)
    }

    /// Every metric's statistics, in order of first appearance.
    pub fn all_statistics(&mut self) -> Result<Tally> {
        let mut all = self.earlier()?.clone();
        all.merge(&self.tally);
        Ok(all)
    }

    /// Bring the Weights & Biases log up to date; an exit code closes it, and keeps an index of a file that
    /// is worth one.
    pub fn checkpoint(&mut self, exit_code: Option<i32>) -> Result<()> {
        let time = self.imports.now();
        if let Some(mut wandb) = self.wandb.take() {
            wandb.checkpoint(&self.imports, exit_code, time)?;
            if exit_code.is_none() {
                self.wandb = Some(wandb);
            }
        }
        if exit_code.is_some() {
            Survey::of(&self.imports, self.part)?.save(&self.imports);
        }
        Ok(())
    }

    fn column_set(&self, columns: u32) -> Result<&ColumnSet> {
        self.columns
            .get(columns as usize)
            .ok_or_else(|| Error::Invalid(format!("there are no columns of number {columns}")))
    }

    fn write_row(
        &mut self,
        columns: u32,
        time: u64,
        step: u64,
        epoch: f64,
        values: &[f64],
    ) -> Result<()> {
        let Some(set) = self.columns.get(columns as usize) else {
            return self.column_set(columns).map(drop);
        };
        if set.prepared.len() != values.len() {
            return Err(Error::Invalid(format!(
                "{} columns need as many values, not {}",
                set.prepared.len(),
                values.len()
            )));
        }
        static METRICS: Fragment = Fragment::of(",\"metrics\":{");
        let line = &mut self.line;
        let epoch = Some(epoch);
        Head { time, step: Some(step), epoch, attempt: self.attempt, step_inferred: false }
            .write(line, &mut self.timestamps);
        line.push_fragment(&METRICS);
        for (at, (&value, column)) in values.iter().zip(&set.prepared).enumerate() {
            line.push_fragment(&column.key);
            let start = line.len();
            if !value.is_finite() {
                line.push_str("null");
                self.non_finite.note(&column.name, value);
            } else if column.kind == Kind::Integer {
                write_number(line, value);
            } else {
                json::write_float(line, value);
            }
            if let Some(number) = column.number {
                self.tally.add(number, step, value);
            }
            if let Some(wandb) = &mut self.wandb {
                wandb.note(&set.columns[at].name, &line[start..], value);
            }
        }
        line.push('}');
        self.non_finite.finish(line);
        line.push_str("}\n");
        self.note_step(step);
        self.note_wandb(step, time);
        Ok(())
    }

    /// `,"<member>":{…}`, what follows, and the end of the line.
    fn write_fields(&mut self, member: &str, fields: &[Field]) -> Result<()> {
        let line = &mut self.line;
        line.push_str(",\"");
        line.push_str(member);
        line.push_str("\":{");
        let mut first = true;
        for (name, value) in last_of_each(each(fields)) {
            if !first {
                line.push(',');
            }
            first = false;
            let start = line.len();
            json::write_string(line, name);
            let key = start..line.len();
            line.push(':');
            let start = line.len();
            json::write_value(line, value);
            if let ValueRef::Float(float) = value {
                self.non_finite.note(&line[key], float);
            }
            if let Some(wandb) = &mut self.wandb {
                wandb.note(name, &line[start..], value.as_number().unwrap_or(0.0));
            }
        }
        line.push('}');
        self.non_finite.finish(line);
        line.push_str("}\n");
        if line.len() > LARGEST_RECORD {
            let size = line.len() >> 20;
            self.line = LineBuffer::new();
            if let Some(wandb) = &mut self.wandb {
                wandb.forget();
            }
            return Err(Error::TooLarge(format!(
                "a record of {size} MiB is too large: at most 16 MiB"
            )));
        }
        Ok(())
    }

    fn append(&mut self) -> Result<()> {
        let _size = self.imports.append(File::Metrics, &self.line, false)?;
        self.line.clear_to(LARGEST_KEPT);
        if let Some(wandb) = &mut self.wandb
            && wandb.append(&self.imports).is_err()
        {
            // The record is kept; its copy is of no use with a block missing before it.
            self.wandb = None;
        }
        Ok(())
    }

    fn note_step(&mut self, step: u64) {
        self.lowest_step = Some(self.lowest_step.map_or(step, |lowest| lowest.min(step)));
    }

    fn note_wandb(&mut self, step: u64, time: u64) {
        if let Some(wandb) = &mut self.wandb {
            wandb.history(Some(step), time);
        }
    }

    /// The statistics of what was in the file before, read when first needed: opening a run of a million
    /// steps must not wait for it. Read again if this attempt went back further since.
    fn earlier(&mut self) -> Result<&Tally> {
        let cut = self.lowest_step;
        if !matches!(&self.earlier.tally, Some((known, _)) if *known == cut) {
            let tally = self.read_earlier(cut)?;
            self.earlier.tally = Some((cut, tally));
        }
        match &self.earlier.tally {
            Some((_, tally)) => Ok(tally),
            None => Err(Error::Invalid("the statistics were not read".into())),
        }
    }

    fn read_earlier(&self, cut: Option<u64>) -> Result<Tally> {
        let survey = Survey::up_to(&self.imports, self.part, self.earlier.size)?;
        let index = survey.index;
        // Where this attempt goes over no step again, what was there counts as it stands.
        let attempt = (self.attempt, cut);
        let over_again = index.attempts.latest().is_some_and(|latest| match attempt {
            (_, None) => false,
            (own, Some(cut)) if own > latest => index.highest_step.is_some_and(|h| cut <= h),
            (_, Some(_)) => index.superseded,
        });
        if !over_again {
            return Ok(index.tally);
        }
        let mut tally = Tally::default();
        let mut lines = Lines::range(&self.imports, File::Metrics, self.part, 0, self.earlier.size);
        while let Some(line) = lines.next()? {
            let Ok(ParsedLine { record: entry, .. }) = line.read(Entry::read) else { continue };
            let gone_over = entry.attempt < self.attempt
                && matches!((cut, entry.step), (Some(cut), Some(step)) if cut <= step);
            if !gone_over && !index.attempts.supersede(&entry) {
                let _ = tally.add_entry(&entry, &mut |_, _| {});
            }
        }
        Ok(tally)
    }
}

/// What is told of a metric that is one too many.
#[cold]
fn uncounted(name: &str) -> Error {
    Error::Limit(format!(
        "more than {} distinct metrics: {name:?} is kept in metrics.jsonl but has no statistics; log \
         fewer names",
        super::MOST_METRICS
    ))
}
