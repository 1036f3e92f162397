//! The metrics logger.

use model_foundry_guest::Field;

pub use crate::bindings::exports::model_foundry::logging::metrics::{
    Column, Kind, NamedStatistics, Statistics,
};
use crate::convert::fields_to;
use crate::queue::{BATCH, BATCH_VALUES};
use crate::recorder::{Recorder, SHORT_ROW};
use crate::run::Run;
use crate::shapes::{self, WIDEST};
use crate::{Error, Result};

/// An epoch, which may be a fraction, or none: made from any number, or from `Option<f64>`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch(Option<f64>);

macro_rules! epoch_from {
    ($($number:ty)*) => {
        $(impl From<$number> for Epoch {
            fn from(epoch: $number) -> Self {
                Self(Some(epoch as f64))
            }
        }
)*
    };
}

epoch_from! { f64 f32 u64 u32 usize i64 i32 }

/// The one kind of option, so that `None` needs no type.
impl From<Option<f64>> for Epoch {
    fn from(epoch: Option<f64>) -> Self {
        Self(epoch)
    }
}

/// Logs training metrics to metrics.jsonl and keeps their statistics. Clones are the same logger.
#[derive(Clone)]
pub struct MetricsLogger {
    run: Run,
}

impl MetricsLogger {
    pub(crate) fn new(run: Run) -> Self {
        Self { run }
    }

    /// Log a step's metrics by name. Steps may come in any order, and more than once.
    ///
    /// Steps of the same numbers under the same names are rows of [`columns`](Self::columns) from the second
    /// on, and cost little more.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`](crate::OnError::Return): if the step could not be kept.
    pub fn log_step(&self, step: u64, epoch: impl Into<Epoch>, metrics: &[Field]) -> Result<()> {
        let epoch = epoch.into().0;
        let mut row = [0.0; WIDEST];
        if let Some(values) = shapes::values(metrics, &mut row)
            && let Some(number) = self.columns_of(metrics)
        {
            return log_row(&self.run, number, step, epoch.unwrap_or(f64::NAN), values);
        }
        self.log(step, epoch, metrics, false)
    }

    /// The number of these metrics' columns; none if they cannot be columns.
    fn columns_of(&self, metrics: &[Field]) -> Option<u32> {
        let (known, has_room) = {
            let mut shapes = self.run.shapes();
            (shapes.find(metrics), shapes.has_room())
        };
        if known.is_some() || !has_room {
            return known;
        }
        let columns = shapes::columns(metrics);
        // Not if a name stands twice, which a step by name may have; and not now if that would mean to wait,
        // perhaps for a disk.
        let number = self.run.with_if_free(|recorder| recorder.columns(columns.clone()))?.ok()?;
        self.run.shapes().add(columns, number);
        Some(number)
    }

    /// Log metrics whose step is a guess: the line says `"step_inferred":true`.
    ///
    /// # Errors
    ///
    /// As [`log_step`](Self::log_step).
    pub fn log_inferred_step(
        &self,
        step: u64,
        epoch: Option<f64>,
        metrics: &[Field],
    ) -> Result<()> {
        self.log(step, epoch, metrics, true)
    }

    fn log(&self, step: u64, epoch: Option<f64>, metrics: &[Field], inferred: bool) -> Result<()> {
        let metrics = fields_to(metrics);
        let record = move |recorder: &mut Recorder| {
            recorder.metrics(|logger, store, handle| {
                logger.call_log_step(store, handle, step, epoch, &metrics, inferred)
            })
        };
        self.submit(record)
    }

    /// Keep a record now, or under `buffered` soon.
    fn submit(
        &self,
        record: impl FnOnce(&mut Recorder) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        match self.run.queue() {
            Some((queue, time)) => {
                match queue.push(time, Box::new(|recorder| record(recorder).map(|()| None))) {
                    Ok(()) => Ok(()),
                    Err(record) => self.run.keep(record).map(drop),
                }
            }
            None => self.run.keep(record),
        }
    }

    /// Name the columns of rows once, to log rows without their names from then on: the fastest way.
    /// Floats are written as such.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if a name stands twice,
    /// [`Error::Limit`](crate::Error::Limit) if there are too many sets of columns.
    pub fn columns(&self, names: &[&str]) -> Result<Columns> {
        let column = |name: &&str| Column { name: (*name).to_owned(), kind: Kind::Float };
        self.typed_columns(names.iter().map(column).collect())
    }

    /// As [`columns`](Self::columns), with the kind of each.
    ///
    /// # Errors
    ///
    /// As [`columns`](Self::columns).
    pub fn typed_columns(&self, columns: Vec<Column>) -> Result<Columns> {
        let width = columns.len();
        let number = self.run.with(|recorder| recorder.columns(columns))?;
        Ok(Columns { run: self.run.clone(), number, width })
    }

    /// Log an epoch's summary.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if there is no finite epoch; else as
    /// [`log_step`](Self::log_step).
    pub fn log_epoch_summary(&self, epoch: impl Into<Epoch>, summary: &[Field]) -> Result<()> {
        let summary = fields_to(summary);
        let Some(epoch) = epoch.into().0 else {
            return Err(Error::Invalid("a summary needs an epoch".into()));
        };
        // Found now and not in the background: it is the caller's mistake.
        if !epoch.is_finite() {
            return Err(Error::Invalid(format!("the epoch must be a finite number, not {epoch}")));
        }
        self.submit(move |recorder| {
            recorder.metrics(|logger, store, handle| {
                logger.call_log_epoch_summary(store, handle, epoch, &summary)
            })
        })
    }

    /// One metric's statistics over what was on disk when the run was opened and what was logged since,
    /// of the latest attempt where one went over steps again. An unknown metric has count 0.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`](crate::Error::Storage) if the file cannot be read.
    pub fn statistics(&self, name: &str) -> Result<Statistics> {
        self.run.after_all(|recorder| {
            recorder.metrics(|logger, store, handle| logger.call_statistics(store, handle, name))
        })
    }

    /// Every metric's statistics, in order of first appearance.
    ///
    /// # Errors
    ///
    /// As [`statistics`](Self::statistics).
    pub fn all_statistics(&self) -> Result<Vec<NamedStatistics>> {
        self.run.after_all(|recorder| {
            recorder.metrics(|logger, store, handle| logger.call_all_statistics(store, handle))
        })
    }
}

/// Log one row of as many values as it has columns, now or under `buffered` soon. An epoch of NaN is none.
#[inline]
fn log_row(run: &Run, columns: u32, step: u64, epoch: f64, values: &[f64]) -> Result<()> {
    if let Some((queue, time)) = run.queue()
        && queue.push_row(columns, time, step, epoch, values)
    {
        return Ok(());
    }
    log_row_now(run, columns, step, epoch, values)
}

fn log_row_now(run: &Run, columns: u32, step: u64, epoch: f64, values: &[f64]) -> Result<()> {
    run.keep(|recorder| {
        if values.len() <= SHORT_ROW {
            return recorder.log_short_row(columns, step, epoch, values);
        }
        let time = recorder.sandbox().powers()?.now();
        recorder.log_rows(columns, &[time], &[step], &[epoch], values)
    })
}

/// Columns that were named once.
#[derive(Clone)]
pub struct Columns {
    run: Run,
    number: u32,
    width: usize,
}

impl Columns {
    /// Log one row: a value for each of the columns.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if there are more or fewer values than columns; else as
    /// [`MetricsLogger::log_step`].
    #[inline]
    pub fn log(&self, step: u64, epoch: impl Into<Epoch>, values: &[f64]) -> Result<()> {
        // A row that does not fit must not reach the batch of others.
        if values.len() != self.width {
            return Err(Error::Invalid(format!(
                "{} columns need as many values, not {}",
                self.width,
                values.len()
            )));
        }
        log_row(&self.run, self.number, step, epoch.into().0.unwrap_or(f64::NAN), values)
    }

    /// Log many rows, some hundreds in a write. `times` are in microseconds since 1970-01-01T00:00:00Z, an epoch of NaN
    /// is none, and `values` has the rows one after another. Under `buffered` too they are written when
    /// this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if the lengths do not fit each other; else as
    /// [`MetricsLogger::log_step`].
    pub fn log_many(
        &self,
        times: &[u64],
        steps: &[u64],
        epochs: &[f64],
        values: &[f64],
    ) -> Result<()> {
        if times.len() != steps.len()
            || epochs.len() != steps.len()
            || values.len() != steps.len() * self.width
        {
            return Err(Error::Invalid(format!(
                "{} rows of {} columns need as many times and epochs and {} values, not {}, {} and {}",
                steps.len(),
                self.width,
                steps.len() * self.width,
                times.len(),
                epochs.len(),
                values.len()
            )));
        }
        self.run.flush();
        // A write must not be so large that it could not wait for a full disk.
        let rows = (BATCH_VALUES / self.width.max(1)).clamp(1, BATCH);
        for from in (0..steps.len()).step_by(rows) {
            let to = steps.len().min(from + rows);
            let values = &values[from * self.width..to * self.width];
            let (times, steps, epochs) = (&times[from..to], &steps[from..to], &epochs[from..to]);
            self.run
                .keep(|recorder| recorder.log_rows(self.number, times, steps, epochs, values))?;
        }
        Ok(())
    }
}
