//! Writing metrics, and their statistics.

use super::columns::ColumnSet;
use super::metric_statistics::AllStatistics;
use super::part_scan::{Own, PartScan};
use super::superseded::AttemptSteps;
use crate::imports::{Imports, Part, RunFile};
use crate::lines::BUDGET;
use crate::sinks::jsonl::Jsonl;
use crate::sinks::{Copies, MetricSink, RowHead, Source};
use crate::statistics::Statistics;
use crate::structured::LARGEST_RECORD;
use crate::value::{Field, ValueRef, each, last_of_each};
use crate::{Error, Result, config, records};
use model_foundry_types::{Column, Options, ParsedRecord, StepOrigin};

/// How many sets of columns a logger remembers.
const MOST_COLUMN_SETS: usize = 1024;

/// What was in the file before this logger.
struct Earlier<I> {
    /// How much of its part of the file.
    size: u64,
    /// A pass over it, begun when its statistics are needed. It does not count what this logger had logged again.
    part_scan: Option<PartScan<I>>,
}

/// What a logger of a second or later attempt has logged, which its statistics of earlier attempts do not count.
#[derive(Default)]
struct Again {
    logged: AttemptSteps,
    /// The lowest step of each metric since the pass over the file was begun, and the lowest epoch of a summary.
    since: Vec<Option<u64>>,
    epochs_since: Vec<f64>,
}

impl Again {
    fn note(&mut self, metric: u32, step: u64) {
        self.logged.note(metric, step);
        let metric = metric as usize;
        if metric >= self.since.len() {
            self.since.resize(metric + 1, None);
        }
        let lowest = &mut self.since[metric];
        *lowest = Some(lowest.map_or(step, |lowest| lowest.min(step)));
    }
}

/// Writes metrics to the sinks, and their statistics.
pub struct MetricsLogger<I> {
    imports: I,
    source: Source,
    part: Part,
    column_sets: Vec<ColumnSet>,
    statistics: AllStatistics,
    /// The highest step that this logger wrote.
    highest_step: Option<u64>,
    /// None for the first attempt.
    again: Option<Again>,
    earlier: Earlier<I>,
    /// The pass that makes the index at the end, and whether it is made.
    closing: Option<PartScan<I>>,
    is_indexed: bool,
    jsonl: Jsonl,
    copies: Copies,
}

impl<I: Imports> MetricsLogger<I> {
    /// Open metrics.jsonl to append to it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the configuration is not valid, [`Error::Storage`] if the file cannot be read.
    pub fn open(imports: &I, options: &Options) -> Result<Self> {
        let config = config::parse_for_logger(&options.config)?;
        let part = Part { rank: options.shard, rotated: 0 };
        let size = imports.size(RunFile::METRICS, part)?;
        Ok(Self {
            imports: imports.clone(),
            source: Source { attempt: options.attempt.max(1), rank: options.rank },
            part,
            column_sets: Vec::new(),
            statistics: AllStatistics::default(),
            highest_step: None,
            again: (options.attempt > 1).then(Again::default),
            earlier: Earlier { size, part_scan: None },
            closing: None,
            is_indexed: false,
            jsonl: Jsonl::default(),
            copies: Copies::begin::<I>(&config, options),
        })
    }

    /// The id of a set of columns. The same columns have the same id.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if a name occurs twice, [`Error::Limit`] if there are too many sets.
    pub fn column_set(&mut self, columns: Vec<Column>) -> Result<u32> {
        if let Some(at) = self.column_sets.iter().position(|set| set.columns == columns) {
            return Ok(at as u32);
        }
        if self.column_sets.len() >= MOST_COLUMN_SETS {
            return Err(Error::Limit(format!(
                "more than {MOST_COLUMN_SETS} sets of columns: log further steps by name"
            )));
        }
        self.column_sets.push(ColumnSet::new(columns, &mut self.statistics.steps)?);
        Ok((self.column_sets.len() - 1) as u32)
    }

    /// How many columns a set has.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if no set has this id.
    pub fn width(&self, column_set: u32) -> Result<usize> {
        Ok(self.set(column_set)?.columns.len())
    }

    /// Log one row: a value for each of the columns. The time is in microseconds since 1970-01-01T00:00:00Z; NaN
    /// means no epoch.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the storage refuses, [`Error::Limit`] if a metric has no statistics.
    pub fn log_row(
        &mut self,
        column_set: u32,
        time: u64,
        step: u64,
        epoch: f64,
        values: &[f64],
    ) -> Result<()> {
        self.jsonl.clear();
        self.write_row(column_set, time, step, epoch, values)?;
        self.append()?;
        self.check_counted(column_set)
    }

    /// Log many rows in one write. An epoch of NaN means no epoch.
    pub fn log_rows(
        &mut self,
        column_set: u32,
        times: &[u64],
        steps: &[u64],
        epochs: &[f64],
        values: &[f64],
    ) -> Result<()> {
        let rows = steps.len();
        let width = self.width(column_set)?;
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
        self.jsonl.clear();
        let mut refused = Ok(());
        for row in 0..rows {
            let values = &values[row * width..(row + 1) * width];
            let written = self.write_row(column_set, times[row], steps[row], epochs[row], values);
            refused = refused.and(written);
        }
        self.append()?;
        refused?;
        self.check_counted(column_set)
    }

    /// Fails if a column's metric has no statistics because there are too many metrics.
    #[inline]
    fn check_counted(&self, column_set: u32) -> Result<()> {
        match self.set(column_set)?.uncounted() {
            None => Ok(()),
            Some(name) => Err(uncounted(name)),
        }
    }

    /// Log a step's metrics by name. If a name occurs twice, the last value counts.
    ///
    /// # Errors
    ///
    /// As [`log_row`](Self::log_row); [`Error::TooLarge`] if the record is larger than 16 MiB.
    pub fn log_step(
        &mut self,
        step: u64,
        epoch: Option<f64>,
        metrics: &[Field],
        origin: StepOrigin,
    ) -> Result<()> {
        let time = self.imports.now();
        let head = RowHead { time, step: Some(step), epoch, source: self.source, origin };
        self.write_fields(&head, metrics)?;
        let mut uncounted_name = None;
        for (name, value) in last_of_each(each(metrics)) {
            let sample = value.as_number();
            if sample.is_none() && self.again.is_none() {
                continue;
            }
            let Some(id) = self.statistics.steps.metric_id(name) else {
                uncounted_name = sample.map(|_| name).or(uncounted_name);
                continue;
            };
            if let Some(sample) = sample {
                self.statistics.steps.add(id, step, sample);
            }
            if let Some(again) = &mut self.again {
                again.note(id, step);
            }
        }
        self.highest_step = self.highest_step.max(Some(step));
        self.append()?;
        match uncounted_name {
            None => Ok(()),
            Some(name) => Err(uncounted(name)),
        }
    }

    /// Log an epoch's summary.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the epoch is not finite; else as [`log_step`](Self::log_step).
    pub fn log_epoch_summary(&mut self, epoch: f64, summary: &[Field]) -> Result<()> {
        if !epoch.is_finite() {
            return Err(Error::Invalid(format!("the epoch must be a finite number, got {epoch}")));
        }
        let head = RowHead {
            time: self.imports.now(),
            step: None,
            epoch: Some(epoch),
            source: self.source,
            origin: StepOrigin::default(),
        };
        self.write_fields(&head, summary)?;
        for (name, value) in last_of_each(each(summary)) {
            let sample = value.as_number();
            if let Some((sample, id)) = sample.zip(self.statistics.summaries.metric_id(name)) {
                self.statistics.summaries.add(id, epoch as u64, sample);
            }
        }
        if let Some(again) = &mut self.again {
            again.logged.note_epoch(epoch);
            again.epochs_since.push(epoch);
        }
        self.append()
    }

    /// Log steps and summaries given as JSON Lines.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the number of the first line that is neither; else as
    /// [`log_step`](Self::log_step). The lines before it are logged.
    pub fn log_lines(&mut self, lines: &str) -> Result<()> {
        for (at, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let given = records::parse(line)
                .map_err(|error| Error::Invalid(format!("line {}: {error}", at + 1)))?;
            // A line that another process logged, of a run that is copied.
            let own = self.source;
            self.source = Source {
                attempt: given.attempt.unwrap_or(own.attempt),
                rank: given.rank.or(own.rank),
            };
            let logged = match given.record {
                ParsedRecord::Step(record) => {
                    let origin =
                        StepOrigin { inferred: given.step_inferred, epoch_step: given.epoch_step };
                    self.log_step(record.step, record.epoch, &record.metrics, origin)
                }
                ParsedRecord::Summary(record) => {
                    self.log_epoch_summary(record.epoch, &record.summary)
                }
                _ => Err(Error::Invalid(format!(
                    "line {}: a metrics logger takes only steps and summaries",
                    at + 1
                ))),
            };
            self.source = own;
            logged?;
        }
        Ok(())
    }

    /// The highest step in this logger's part of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn last_step(&mut self) -> Result<Option<u64>> {
        let highest_step = self.earlier()?.index.highest_step;
        Ok(highest_step.max(self.highest_step))
    }

    /// One metric's statistics over what was in the file and what this logger wrote: those of its values in steps, or
    /// in epoch summaries if no step has it.
    pub fn statistics(&mut self, name: &str) -> Result<Statistics> {
        let mut all = self.earlier()?.index.statistics.only(&[name.to_owned()]);
        all.merge(&self.statistics.only(&[name.to_owned()]));
        Ok(all.get(name).cloned().unwrap_or_default())
    }

    /// Every metric's statistics, in order of first appearance.
    pub fn all_statistics(&mut self) -> Result<AllStatistics> {
        let mut all = self.earlier()?.index.statistics.clone();
        all.merge(&self.statistics);
        Ok(all)
    }

    /// Write what the copies have buffered. metrics.jsonl itself is not buffered.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if a copy cannot be written. The copy ends then.
    pub fn flush(&mut self) -> Result<()> {
        let time = self.imports.now();
        self.copies.flush(&self.imports, time)
    }

    /// End the copies with the training's exit code, and begin the index of a large file:
    /// [`save_index`](Self::save_index) continues it.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if a copy cannot be written, or the file cannot be read.
    pub fn close(&mut self, exit_code: i32) -> Result<()> {
        let time = self.imports.now();
        let closed = self.copies.close(&self.imports, exit_code, time);
        (self.closing, self.is_indexed) = (None, false);
        self.save_index(BUDGET)?;
        closed
    }

    /// Do a part of the work for the index of the file: read about `budget` bytes. True when the index is saved.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn save_index(&mut self, mut budget: u64) -> Result<bool> {
        if self.is_indexed {
            return Ok(true);
        }
        let mut part_scan = match self.closing.take() {
            Some(part_scan) => part_scan,
            None => {
                let size = self.imports.size(RunFile::METRICS, self.part)?;
                PartScan::begin(&self.imports, self.part, size, true, None)
            }
        };
        let done = part_scan.advance(&mut budget);
        part_scan.save();
        self.is_indexed = done == Ok(true);
        if !self.is_indexed {
            self.closing = Some(part_scan);
        }
        done
    }

    /// Do a part of the work for [`statistics`](Self::statistics) and [`last_step`](Self::last_step): read about
    /// `budget` bytes of what was in the file before this logger. True when nothing is left to read. After an error
    /// it can be called again.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn advance(&mut self, mut budget: u64) -> Result<bool> {
        // Opening a run of a million steps must not wait for this.
        let done = match &mut self.earlier.part_scan {
            Some(part_scan) => part_scan.advance(&mut budget)?,
            None => false,
        };
        if done && !self.repeats() {
            return Ok(true);
        }
        if done || self.earlier.part_scan.is_none() {
            let own = self.again.as_mut().map(|again| {
                again.since.clear();
                again.epochs_since.clear();
                let (attempt, names) = (self.source.attempt, &self.statistics.steps);
                Own { attempt, logged: &again.logged, names }
            });
            let (part, size) = (self.part, self.earlier.size);
            let part_scan = PartScan::begin(&self.imports, part, size, false, own);
            self.earlier.part_scan = Some(part_scan);
        }
        match &mut self.earlier.part_scan {
            Some(part_scan) => Ok(part_scan.advance(&mut budget)? && !self.repeats()),
            None => Ok(true),
        }
    }

    /// Whether this logger has logged again what the pass over the file has counted.
    fn repeats(&mut self) -> bool {
        let (Some(again), Some(part_scan)) = (&mut self.again, &self.earlier.part_scan) else {
            return false;
        };
        let index = &part_scan.index;
        let steps = (0..).zip(&again.since).filter_map(|(id, lowest)| Some((id, (*lowest)?)));
        let repeats = steps.into_iter().any(|(id, lowest)| {
            let id = index.statistics.steps.id(self.statistics.steps.name(id));
            id.is_some_and(|id| index.logged.may_reach(self.source.attempt, id, lowest))
        }) || again
            .epochs_since
            .iter()
            .any(|&epoch| index.logged.may_repeat_epoch(self.source.attempt, epoch));
        if !repeats {
            again.since.clear();
            again.epochs_since.clear();
        }
        repeats
    }

    fn set(&self, column_set: u32) -> Result<&ColumnSet> {
        self.column_sets
            .get(column_set as usize)
            .ok_or_else(|| Error::Invalid(format!("no column set has the id {column_set}")))
    }

    fn write_row(
        &mut self,
        column_set: u32,
        time: u64,
        step: u64,
        epoch: f64,
        values: &[f64],
    ) -> Result<()> {
        let Some(set) = self.column_sets.get(column_set as usize) else {
            return self.set(column_set).map(drop);
        };
        if set.prepared.len() != values.len() {
            return Err(Error::Invalid(format!(
                "a row of {} columns must have as many values, got {}",
                set.prepared.len(),
                values.len()
            )));
        }
        let (epoch, source) = (Some(epoch), self.source);
        let head = RowHead { time, step: Some(step), epoch, source, origin: StepOrigin::default() };
        let copied = self.copies.any();
        MetricSink::<I>::begin_row(&mut self.jsonl, &head);
        if copied {
            MetricSink::<I>::begin_row(&mut self.copies, &head);
        }
        for (at, (&value, column)) in values.iter().zip(&set.prepared).enumerate() {
            let text = self.jsonl.column(&column.written, value);
            if copied {
                let name = &set.columns[at].name;
                MetricSink::<I>::value(&mut self.copies, name, ValueRef::Float(value), text);
            }
            if let Some(metric) = column.metric {
                self.statistics.steps.add(metric, step, value);
                if let Some(again) = &mut self.again {
                    again.note(metric, step);
                }
            }
        }
        MetricSink::<I>::end_row(&mut self.jsonl);
        if self.jsonl.row_length() > LARGEST_RECORD {
            let length = self.jsonl.row_length();
            MetricSink::<I>::discard_row(&mut self.jsonl);
            if copied {
                MetricSink::<I>::discard_row(&mut self.copies);
            }
            return Err(too_large(length));
        }
        if copied {
            MetricSink::<I>::end_row(&mut self.copies);
        }
        self.highest_step = self.highest_step.max(Some(step));
        Ok(())
    }

    /// Write named values as one row.
    fn write_fields(&mut self, head: &RowHead, fields: &[Field]) -> Result<()> {
        self.jsonl.clear();
        MetricSink::<I>::begin_row(&mut self.jsonl, head);
        MetricSink::<I>::begin_row(&mut self.copies, head);
        for (name, value) in last_of_each(each(fields)) {
            MetricSink::<I>::value(&mut self.jsonl, name, value, "");
            MetricSink::<I>::value(&mut self.copies, name, value, self.jsonl.latest_value());
        }
        MetricSink::<I>::end_row(&mut self.jsonl);
        let length = self.jsonl.row_length();
        if length > LARGEST_RECORD {
            MetricSink::<I>::discard_row(&mut self.jsonl);
            MetricSink::<I>::discard_row(&mut self.copies);
            return Err(too_large(length));
        }
        MetricSink::<I>::end_row(&mut self.copies);
        Ok(())
    }

    fn append(&mut self) -> Result<()> {
        self.jsonl.append(&self.imports)?;
        self.copies.append(&self.imports)
    }

    /// What was in the file before.
    fn earlier(&mut self) -> Result<&PartScan<I>> {
        while !self.advance(u64::MAX)? {}
        match &self.earlier.part_scan {
            Some(part_scan) => Ok(part_scan),
            None => Err(Error::Invalid("the statistics were not read".into())),
        }
    }
}

/// The error for a row of this many bytes.
#[cold]
fn too_large(length: usize) -> Error {
    Error::TooLarge(format!("a record of {} MiB is too large: at most 16 MiB", length >> 20))
}

/// The error for a metric beyond the bound.
#[cold]
fn uncounted(name: &str) -> Error {
    Error::Limit(format!(
        "more than {} distinct metrics: {name:?} is written to metrics.jsonl but has no statistics; log \
         fewer names",
        super::MOST_METRICS
    ))
}
