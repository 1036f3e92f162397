//! The metrics logger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model_foundry_types::{Column, Field, Kind, NamedStatistics, Statistics, StepOrigin};
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::api::structured::warn;
use crate::engine::bindings::exports::model_foundry::logging::metrics::GuestMetricsLogger;
use crate::engine::sandbox::BUDGET;
use crate::recording::column_sets::{self, Known};
use crate::recording::core::RunCore;
use crate::recording::guest_loggers::{Answer, GuestLoggers, SHORT_ROW};
use crate::recording::queue::{BATCH, BATCH_VALUES};
use crate::services::StoreData;
use crate::{Error, Result};

/// An epoch, which may be fractional, or no epoch. It converts from any number, and from `Option<f64>`.
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

/// The only option, so that `None` needs no type.
impl From<Option<f64>> for Epoch {
    fn from(epoch: Option<f64>) -> Self {
        Self(epoch)
    }
}

/// Logs training metrics to metrics.jsonl, with streaming statistics. Clones are the same logger.
#[derive(Clone)]
pub struct MetricsLogger {
    core: Arc<RunCore>,
}

impl std::fmt::Debug for MetricsLogger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsLogger").finish_non_exhaustive()
    }
}

impl MetricsLogger {
    pub(crate) fn new(core: Arc<RunCore>) -> Self {
        Self { core }
    }

    /// Log a step's metrics by name. Steps may come in any order, and more than once.
    ///
    /// From the second step with the same names on, steps of numbers are logged as rows of [`columns`](Self::columns),
    /// and cost little more than these.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`](crate::OnError::Return): if the step could not be written.
    pub fn log_step(&self, step: u64, epoch: impl Into<Epoch>, metrics: &[Field]) -> Result<()> {
        let epoch = epoch.into().0;
        let mut row = [0.0; Column::WIDEST];
        if let Some(values) = column_sets::values(metrics, &mut row)
            && let Some(column_set) = self.column_set_of(metrics, step)
        {
            return log_row(&self.core, column_set, step, epoch.unwrap_or(f64::NAN), values);
        }
        self.log_step_of_output(step, epoch, metrics, StepOrigin::default())
    }

    /// The id of these metrics' columns; none if they cannot be columns.
    fn column_set_of(&self, metrics: &[Field], step: u64) -> Option<u32> {
        let (known, has_room) = {
            let mut sets = self.core.column_sets();
            (sets.find(metrics, step), sets.has_room())
        };
        if let Some(Known { id, highest_step }) = known {
            if step < highest_step {
                went_back(&self.core, step, highest_step);
            }
            return Some(id);
        }
        if !has_room {
            return None;
        }
        let columns = column_sets::columns(metrics);
        // Columns are refused if a name occurs twice, which a step by name may have. They are not named now if that
        // would mean waiting, perhaps for a disk.
        let id = self.core.with_if_free(|guest| guest.column_set(columns.clone()))?.ok()?;
        self.core.column_sets().add(columns, id, step);
        Some(id)
    }

    /// Log metrics that were read in a trainer's output, with where their step comes from.
    ///
    /// # Errors
    ///
    /// As [`log_step`](Self::log_step).
    pub fn log_step_of_output(
        &self,
        step: u64,
        epoch: Option<f64>,
        metrics: &[Field],
        origin: StepOrigin,
    ) -> Result<()> {
        let metrics = metrics.to_vec();
        let record = move |guest: &mut GuestLoggers| {
            guest.metrics(|logger, store, handle| {
                logger.call_log_step(store, handle, step, epoch, &metrics, origin)
            })
        };
        self.submit(record)
    }

    /// Log a step or a summary given as a line of JSON, as of a time in microseconds since 1970-01-01T00:00:00Z.
    pub(crate) fn log_line(&self, line: String, time: u64) -> Result<()> {
        self.core.flush();
        self.core.record(|guest| {
            guest.as_of(time, |guest| {
                guest.metrics(|logger, store, handle| logger.call_log_lines(store, handle, &line))
            })
        })
    }

    /// Write a record now, or under `buffered` soon.
    fn submit(
        &self,
        record: impl FnOnce(&mut GuestLoggers) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        match self.core.queue() {
            Some((queue, time)) => {
                match queue.push(time, Box::new(|guest| record(guest).map(|()| None))) {
                    Ok(()) => Ok(()),
                    Err(record) => self.core.record(record).map(drop),
                }
            }
            None => self.core.record(record),
        }
    }

    /// Name the columns of rows once, to log rows by position: the fastest way. Every column is of floats.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if a name occurs twice,
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
        let id = self.core.with(|guest| guest.column_set(columns))?;
        Ok(Columns { core: self.core.clone(), id, width, highest_step: Arc::default() })
    }

    /// Log an epoch's summary.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if there is no finite epoch; else as
    /// [`log_step`](Self::log_step).
    pub fn log_epoch_summary(&self, epoch: impl Into<Epoch>, summary: &[Field]) -> Result<()> {
        let Some(epoch) = epoch.into().0 else {
            return Err(Error::Invalid("a summary needs an epoch".into()));
        };
        // Checked now and not in the background: it is the caller's mistake.
        if !epoch.is_finite() {
            return Err(Error::Invalid(format!("the epoch must be a finite number, got {epoch}")));
        }
        let summary = summary.to_vec();
        self.submit(move |guest| {
            guest.metrics(|logger, store, handle| {
                logger.call_log_epoch_summary(store, handle, epoch, &summary)
            })
        })
    }

    /// One metric's statistics over what was on the disk when the run was opened and what was logged since. Steps of an
    /// earlier attempt that a later attempt repeated are left out. An unknown metric has count 0.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`](crate::Error::Storage) if the file cannot be read.
    pub fn statistics(&self, name: &str) -> Result<Statistics> {
        self.prepared(|logger, store, handle| logger.call_statistics(store, handle, name))
    }

    /// Every metric's statistics, in order of first appearance.
    ///
    /// # Errors
    ///
    /// As [`statistics`](Self::statistics).
    pub fn all_statistics(&self) -> Result<Vec<NamedStatistics>> {
        self.prepared(|logger, store, handle| logger.call_all_statistics(store, handle))
    }

    /// Call the logger after everything that was logged before is written, and after it has read what was in the
    /// file, in several calls, between which other threads may log.
    fn prepared<R>(
        &self,
        call: impl Fn(GuestMetricsLogger<'_>, &mut Store<StoreData>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        self.core.flush();
        self.core.with_until_done(|guest| {
            let is_read = guest
                .metrics(|logger, store, handle| logger.call_prepare(store, handle, BUDGET))?;
            if is_read { guest.metrics(&call).map(Some) } else { Ok(None) }
        })
    }
}

/// Report the first step that is lower than an earlier one of the same metrics: within an attempt both are kept, and a
/// curve that goes back is seldom what was meant.
#[cold]
fn went_back(core: &Arc<RunCore>, step: u64, highest_step: u64) {
    if core.reports_step_back() {
        warn(
            core,
            &format!(
                "step {step} was logged after step {highest_step}, in one attempt: both are kept; a new start, or a \
             training that begins again, needs a run of its own"
            ),
        );
    }
}

/// Log one row, now or under `buffered` soon. An epoch of NaN is no epoch.
#[inline]
fn log_row(core: &RunCore, column_set: u32, step: u64, epoch: f64, values: &[f64]) -> Result<()> {
    if let Some((queue, time)) = core.queue()
        && queue.push_row(column_set, time, step, epoch, values)
    {
        return Ok(());
    }
    log_row_now(core, column_set, step, epoch, values)
}

fn log_row_now(
    core: &RunCore,
    column_set: u32,
    step: u64,
    epoch: f64,
    values: &[f64],
) -> Result<()> {
    core.record(|guest| {
        if values.len() <= SHORT_ROW {
            return guest.log_short_row(column_set, step, epoch, values);
        }
        let time = guest.sandbox().services()?.now();
        guest.log_rows(column_set, &[time], &[step], &[epoch], values)
    })
}

/// Columns that were named once.
#[derive(Clone)]
pub struct Columns {
    core: Arc<RunCore>,
    /// The id of the column set.
    id: u32,
    width: usize,
    /// The highest step that was logged.
    highest_step: Arc<AtomicU64>,
}

impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Columns").finish_non_exhaustive()
    }
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
        // A row that does not fit must not get into a batch with others.
        if values.len() != self.width {
            return Err(Error::Invalid(format!(
                "a row of {} columns must have as many values, got {}",
                self.width,
                values.len()
            )));
        }
        let highest_step = self.highest_step.load(Ordering::Relaxed);
        if step > highest_step {
            self.highest_step.store(step, Ordering::Relaxed);
        } else if step < highest_step {
            went_back(&self.core, step, highest_step);
        }
        log_row(&self.core, self.id, step, epoch.into().0.unwrap_or(f64::NAN), values)
    }

    /// Log many rows, some hundreds in one write. `times` are in microseconds since 1970-01-01T00:00:00Z, an epoch of NaN
    /// is no epoch, and `values` has the rows one after another. They are written when this returns, under `buffered`
    /// too.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if the lengths do not match; else as
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
                "{} rows of {} columns must have as many times and epochs and {} values, got {}, {} and {}",
                steps.len(),
                self.width,
                steps.len() * self.width,
                times.len(),
                epochs.len(),
                values.len()
            )));
        }
        self.core.flush();
        // A write must fit into the memory in which records wait for a full disk.
        let rows = (BATCH_VALUES / self.width.max(1)).clamp(1, BATCH);
        for from in (0..steps.len()).step_by(rows) {
            let to = steps.len().min(from + rows);
            let values = &values[from * self.width..to * self.width];
            let (times, steps, epochs) = (&times[from..to], &steps[from..to], &epochs[from..to]);
            self.core.record(|guest| guest.log_rows(self.id, times, steps, epochs, values))?;
        }
        Ok(())
    }
}
