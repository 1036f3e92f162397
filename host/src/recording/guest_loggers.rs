//! The component's loggers: its handles, opened when they are first used and again after a trap. A run has them behind
//! one lock.

use model_foundry_types::packed::Packer;
use model_foundry_types::{self as types, Column, Field, Level, LoggingConfig, Options};
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::engine::bindings::Exports;
use crate::engine::bindings::exports::model_foundry::logging::{
    console, errors, hot_path, metrics, performance,
};
use crate::engine::sandbox::{BUDGET, Sandbox, until_done};
use crate::services::StoreData;
use crate::{Error, Result};

/// How many values a row may have that crosses in registers.
pub(crate) const SHORT_ROW: usize = 12;

/// The result of a call into the component: a trap outside, an error inside.
pub(crate) type Answer<R> = wasmtime::Result<Result<R, types::Error>>;

/// A resource that the component has once a run.
#[derive(Clone, Copy)]
enum Slot {
    Metrics,
    Performance,
    Errors,
    Transcript,
}

/// Everything that a run's loggers call the component through.
pub(crate) struct GuestLoggers {
    sandbox: Sandbox,
    /// The logging configuration as JSON, as it crosses to the component.
    config: String,
    console_level: Level,
    max_errors: u32,
    rank: Option<u32>,
    metrics_options: Options,
    /// The handle in each [`Slot`], once it is opened.
    handles: [Option<ResourceAny>; 4],
    /// Column sets by id: named again after a trap.
    column_sets: Vec<Vec<Column>>,
    loggers: Vec<Option<Logger>>,
    packer: Packer,
}

/// A structured logger, with everything that is needed to open it again.
struct Logger {
    name: String,
    context: Vec<Field>,
    opened: Option<OpenedLogger>,
}

/// A structured logger in the component: its handle, and its id on the hot path.
#[derive(Clone, Copy)]
struct OpenedLogger {
    handle: ResourceAny,
    id: u32,
}

impl GuestLoggers {
    /// The loggers of a component. The configuration is valid.
    pub(crate) fn new(
        sandbox: Sandbox,
        config: &LoggingConfig,
        mut metrics_options: Options,
        rank: Option<u32>,
    ) -> Self {
        let text = serde_json::to_string(config).unwrap_or_default();
        metrics_options.config.clone_from(&text);
        Self {
            sandbox,
            config: text,
            console_level: config.console_level,
            max_errors: config.max_errors_to_track,
            rank,
            metrics_options,
            handles: [None; 4],
            column_sets: Vec::new(),
            loggers: Vec::new(),
            packer: Packer::default(),
        }
    }

    pub(crate) fn sandbox(&mut self) -> &mut Sandbox {
        &mut self.sandbox
    }

    /// Whether any metric was logged.
    pub(crate) fn has_metrics(&self) -> bool {
        self.handles[Slot::Metrics as usize].is_some()
    }

    /// Whether anything was timed or sampled.
    pub(crate) fn has_performance(&self) -> bool {
        self.handles[Slot::Performance as usize].is_some()
    }

    /// The id of a column set. The same columns have the same id.
    pub(crate) fn column_set(&mut self, columns: Vec<Column>) -> Result<u32> {
        if let Some(at) = self.column_sets.iter().position(|known| *known == columns) {
            return Ok(at as u32);
        }
        let id = self.with_slot(Slot::Metrics, |guest, store, logger| {
            guest.model_foundry_logging_hot_path().call_column_set(store, logger, &columns)
        })?;
        if id as usize == self.column_sets.len() {
            self.column_sets.push(columns);
        }
        Ok(id)
    }

    /// Log one row of at most [`SHORT_ROW`] values. An epoch of NaN is no epoch.
    pub(crate) fn log_short_row(
        &mut self,
        column_set: u32,
        step: u64,
        epoch: f64,
        values: &[f64],
    ) -> Result<()> {
        let mut v = [0.0; SHORT_ROW];
        v[..values.len()].copy_from_slice(values);
        let [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11] = v;
        let row = hot_path::ShortRow { v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11 };
        let time = self.sandbox.services()?.now();
        self.with_slot(Slot::Metrics, |guest, store, _| {
            let hot_path = guest.model_foundry_logging_hot_path();
            let logged = hot_path.call_log_row(&mut *store, column_set, time, step, epoch, row)?;
            or_refused(logged, hot_path, store)
        })
    }

    /// Log rows in one call.
    pub(crate) fn log_rows(
        &mut self,
        column_set: u32,
        times: &[u64],
        steps: &[u64],
        epochs: &[f64],
        values: &[f64],
    ) -> Result<()> {
        self.with_slot(Slot::Metrics, |guest, store, _| {
            let hot_path = guest.model_foundry_logging_hot_path();
            hot_path.call_log_rows(store, column_set, times, steps, epochs, values)
        })
    }

    /// Work as of a past time, in microseconds since 1970-01-01T00:00:00Z: that of the call, for a record that was
    /// buffered since.
    pub(crate) fn as_of<R>(
        &mut self,
        time: u64,
        work: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        self.sandbox.services()?.time_of_call = Some(time);
        let result = work(self);
        self.sandbox.services()?.time_of_call = None;
        result
    }

    /// Call the metrics logger.
    pub(crate) fn metrics<R>(
        &mut self,
        call: impl Fn(metrics::GuestMetricsLogger<'_>, &mut Store<StoreData>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        self.with_slot(Slot::Metrics, |guest, store, handle| {
            call(guest.model_foundry_logging_metrics().metrics_logger(), store, handle)
        })
    }

    /// Call the performance logger.
    pub(crate) fn performance<R>(
        &mut self,
        call: impl Fn(
            performance::GuestPerformanceLogger<'_>,
            &mut Store<StoreData>,
            ResourceAny,
        ) -> Answer<R>,
    ) -> Result<R> {
        self.with_slot(Slot::Performance, |guest, store, handle| {
            call(guest.model_foundry_logging_performance().performance_logger(), store, handle)
        })
    }

    /// Call the error tracker.
    pub(crate) fn errors<R>(
        &mut self,
        call: impl Fn(errors::GuestErrorTracker<'_>, &mut Store<StoreData>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        self.with_slot(Slot::Errors, |guest, store, handle| {
            call(guest.model_foundry_logging_errors().error_tracker(), store, handle)
        })
    }

    /// Call the writer of console.log.
    pub(crate) fn transcript<R>(
        &mut self,
        call: impl Fn(console::GuestTranscript<'_>, &mut Store<StoreData>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        self.with_slot(Slot::Transcript, |guest, store, handle| {
            call(guest.model_foundry_logging_console().transcript(), store, handle)
        })
    }

    /// Add a structured logger; its number.
    pub(crate) fn add_logger(&mut self, name: &str, context: Vec<Field>) -> usize {
        let logger = Some(Logger { name: name.to_owned(), context, opened: None });
        match self.loggers.iter().position(Option::is_none) {
            Some(free) => {
                self.loggers[free] = logger;
                free
            }
            None => {
                self.loggers.push(logger);
                self.loggers.len() - 1
            }
        }
    }

    /// Remove a structured logger.
    pub(crate) fn drop_logger(&mut self, number: usize) {
        let logger = self.loggers.get_mut(number).and_then(Option::take);
        if let Some(opened) = logger.and_then(|logger| logger.opened) {
            // A trap replaces the instance, and the logger is gone as well.
            let _ = self.sandbox.call(|_, store| opened.handle.resource_drop(store));
        }
    }

    /// Change a structured logger's base context.
    pub(crate) fn change_context(
        &mut self,
        number: usize,
        change: impl FnOnce(&mut Vec<Field>),
    ) -> Result<()> {
        let logger = self.logger(number)?;
        change(&mut logger.context);
        // It is opened again, with the new context, when it is next used.
        if let Some(opened) = logger.opened.take() {
            self.sandbox.call(|_, store| opened.handle.resource_drop(store))?;
        }
        Ok(())
    }

    /// The base context of a structured logger.
    pub(crate) fn context(&mut self, number: usize) -> Result<Vec<Field>> {
        Ok(self.logger(number)?.context.clone())
    }

    /// Log a structured record. Returns the line for the console, if the level reaches it.
    pub(crate) fn log(
        &mut self,
        number: usize,
        level: Level,
        message: &str,
        fields: &[Field],
    ) -> Result<Option<String>> {
        let time = self.sandbox.services()?.now();
        self.packed(message, fields, |loggers, length, packed| {
            let (texts, fields) = (packed.texts(), packed.numbers());
            let line = if level >= loggers.console_level {
                Some(loggers.with_logger(number, |hot_path, store, id| {
                    hot_path.call_record_text(store, id, time, level, length, texts, fields)
                })?)
            } else {
                None
            };
            loggers.with_logger(number, |hot_path, store, id| {
                let logged = hot_path.call_log_record(
                    &mut *store,
                    id,
                    time,
                    level,
                    length,
                    texts,
                    fields,
                )?;
                or_refused(logged, hot_path, store)
            })?;
            Ok(line)
        })
    }

    /// A structured record as JSON. Nothing is written.
    pub(crate) fn format(
        &mut self,
        number: usize,
        message: &str,
        fields: &[Field],
    ) -> Result<String> {
        self.packed(message, fields, |loggers, length, packed| {
            loggers.with_logger(number, |hot_path, store, id| {
                hot_path.call_record_json(store, id, length, packed.texts(), packed.numbers())
            })
        })
    }

    /// Pack a message and fields for a call; the work gets the message's length in bytes.
    fn packed<R>(
        &mut self,
        message: &str,
        fields: &[Field],
        work: impl FnOnce(&mut Self, u32, &Packer) -> Result<R>,
    ) -> Result<R> {
        let length = u32::try_from(message.len())
            .map_err(|_| Error::TooLarge("a message must be smaller than 4 GiB".into()))?;
        let mut packer = std::mem::take(&mut self.packer);
        packer.pack(message, fields);
        let result = work(self, length, &packer);
        self.packer = packer;
        result
    }

    /// Call the hot path for a structured logger, with its id.
    fn with_logger<R>(
        &mut self,
        number: usize,
        call: impl Fn(&hot_path::Guest, &mut Store<StoreData>, u32) -> Answer<R>,
    ) -> Result<R> {
        self.retry_if_nothing_was_written(|loggers| {
            let id = match loggers.logger(number)?.opened {
                Some(opened) => opened.id,
                None => loggers.open_logger(number)?,
            };
            loggers
                .call_guest(|guest, store| call(guest.model_foundry_logging_hot_path(), store, id))
        })
    }

    fn open_logger(&mut self, number: usize) -> Result<u32> {
        let config = self.config.clone();
        let logger = self.logger(number)?;
        let (name, context) = (logger.name.clone(), logger.context.clone());
        let opened = self.call_guest(|guest, store| {
            let loggers = guest.model_foundry_logging_structured().structured_logger();
            let handle = match loggers.call_open(&mut *store, &name, &config, &context)? {
                Ok(handle) => handle,
                Err(error) => return Ok(Err(error)),
            };
            let id = guest.model_foundry_logging_hot_path().call_logger_id(store, handle)?;
            Ok(Ok(OpenedLogger { handle, id }))
        })?;
        self.logger(number)?.opened = Some(opened);
        Ok(opened.id)
    }

    fn logger(&mut self, number: usize) -> Result<&mut Logger> {
        self.loggers
            .get_mut(number)
            .and_then(Option::as_mut)
            .ok_or_else(|| Error::Invalid(format!("no structured logger has the number {number}")))
    }

    /// Call the component with the resource in a slot, which is opened if it is not open.
    fn with_slot<R>(
        &mut self,
        slot: Slot,
        call: impl Fn(&Exports, &mut Store<StoreData>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        self.retry_if_nothing_was_written(|loggers| {
            let handle = match loggers.handles[slot as usize] {
                Some(handle) => handle,
                None => loggers.open(slot)?,
            };
            loggers.call_guest(|guest, store| call(guest, store, handle))
        })
    }

    fn open(&mut self, slot: Slot) -> Result<ResourceAny> {
        let (config, options) = (self.config.clone(), self.metrics_options.clone());
        let (max_errors, rank) = (self.max_errors, self.rank);
        let handle = self.call_guest(|guest, store| match slot {
            Slot::Metrics => {
                guest.model_foundry_logging_metrics().metrics_logger().call_open(store, &options)
            }
            Slot::Performance => {
                let performance = guest.model_foundry_logging_performance();
                performance.performance_logger().call_open(store, &config)
            }
            Slot::Errors => {
                let errors = guest.model_foundry_logging_errors();
                errors.error_tracker().call_open(store, max_errors, rank)
            }
            Slot::Transcript => {
                guest.model_foundry_logging_console().transcript().call_open(store, &config)
            }
        })?;
        if matches!(slot, Slot::Metrics) {
            // Ids are given in order: the sets get those that callers know.
            for columns in self.column_sets.clone() {
                self.call_guest(|guest, store| {
                    let hot_path = guest.model_foundry_logging_hot_path();
                    hot_path.call_column_set(store, handle, &columns)
                })?;
            }
        }
        self.handles[slot as usize] = Some(handle);
        if matches!(slot, Slot::Performance) {
            // The file is read before the first record, which may rotate it.
            until_done(|| {
                let read = self.call_guest(|guest, store| {
                    let performance = guest.model_foundry_logging_performance();
                    performance.performance_logger().call_prepare(store, handle, BUDGET)
                })?;
                Ok(read.then_some(()))
            })?;
        }
        Ok(handle)
    }

    /// Call the component. After a trap none of its handles is valid any more.
    fn call_guest<R>(
        &mut self,
        call: impl FnOnce(&Exports, &mut Store<StoreData>) -> Answer<R>,
    ) -> Result<R> {
        let answer = self.sandbox.call(call);
        if matches!(answer, Err(Error::Trap(_))) {
            self.metrics_options.reopened |= self.handles[Slot::Metrics as usize].is_some();
            self.handles = [None; 4];
            for logger in self.loggers.iter_mut().flatten() {
                logger.opened = None;
            }
        }
        Ok(answer??)
    }

    /// Repeat work if the component trapped before anything was appended: the record is neither lost nor written
    /// twice.
    fn retry_if_nothing_was_written<R>(
        &mut self,
        mut work: impl FnMut(&mut Self) -> Result<R>,
    ) -> Result<R> {
        let before = self.sandbox.services()?.files().appends();
        match work(self) {
            Err(Error::Trap(_)) if self.sandbox.services()?.files().appends() == before => {
                work(self)
            }
            result => result,
        }
    }
}

/// The result of a call that only says whether it failed, with the reason if it did.
fn or_refused(
    result: Result<(), ()>,
    hot_path: &hot_path::Guest,
    store: &mut Store<StoreData>,
) -> Answer<()> {
    if result.is_ok() {
        return Ok(Ok(()));
    }
    let reason = hot_path.call_why_refused(store)?;
    Ok(Err(reason.unwrap_or_else(|| {
        types::Error::Other("the component refused a record without a reason".into())
    })))
}
