//! The component's loggers behind one lock: opened when first used, and opened again after a trap.

use model_foundry_guest::config::LoggingConfig;
use model_foundry_guest::packed::Packer;
use model_foundry_guest::{Field, Level};
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::bindings::Logging;
use crate::bindings::exports::model_foundry::logging::types;
use crate::bindings::exports::model_foundry::logging::{
    config, console, errors, metrics, performance, structured,
};
use crate::convert::fields_to;
use crate::imports::State;
use crate::sandbox::Sandbox;
use crate::{Error, Result};

/// How many values a row may have that goes in registers.
pub(crate) const SHORT_ROW: usize = 12;

/// The answer of a call into the component: a trap outside, an error inside.
type Answer<R> = wasmtime::Result<Result<R, types::Error>>;

/// Everything a run's loggers are made from.
pub(crate) struct Recorder {
    sandbox: Sandbox,
    config: config::LoggingConfig,
    metrics_options: metrics::Options,
    max_errors: u32,
    rank: Option<u32>,
    metrics: Option<ResourceAny>,
    performance: Option<ResourceAny>,
    errors: Option<ResourceAny>,
    transcript: Option<ResourceAny>,
    /// Columns by number: named again after a trap.
    columns: Vec<Vec<metrics::Column>>,
    loggers: Vec<Option<Logger>>,
    packer: Packer,
}

/// A structured logger, with what it takes to make it anew.
struct Logger {
    name: String,
    context: Vec<Field>,
    started: Option<Started>,
}

/// A structured logger in the component: its handle, and the number that it is logged to by.
#[derive(Clone, Copy)]
struct Started {
    handle: ResourceAny,
    number: u32,
}

impl Recorder {
    pub(crate) fn new(
        sandbox: Sandbox,
        config: &LoggingConfig,
        metrics_options: metrics::Options,
        rank: Option<u32>,
    ) -> Self {
        Self {
            sandbox,
            config: config.into(),
            metrics_options,
            max_errors: config.max_errors_to_track,
            rank,
            metrics: None,
            performance: None,
            errors: None,
            transcript: None,
            columns: Vec::new(),
            loggers: Vec::new(),
            packer: Packer::default(),
        }
    }

    pub(crate) fn sandbox(&mut self) -> &mut Sandbox {
        &mut self.sandbox
    }

    /// Whether the performance logger has been used.
    pub(crate) fn has_timed(&self) -> bool {
        self.performance.is_some()
    }

    /// The number of columns: the same ones always have the same.
    pub(crate) fn columns(&mut self, columns: Vec<metrics::Column>) -> Result<u32> {
        if let Some(at) = self.columns.iter().position(|known| *known == columns) {
            return Ok(at as u32);
        }
        let number =
            self.metrics(|logger, store, metrics| logger.call_columns(store, metrics, &columns))?;
        if number as usize == self.columns.len() {
            self.columns.push(columns);
        }
        Ok(number)
    }

    /// Log one row of at most [`SHORT_ROW`] values, now. An epoch of NaN is none.
    pub(crate) fn log_short_row(
        &mut self,
        columns: u32,
        step: u64,
        epoch: f64,
        values: &[f64],
    ) -> Result<()> {
        let mut v = [0.0; SHORT_ROW];
        v[..values.len()].copy_from_slice(values);
        let [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11] = v;
        let row = metrics::ShortRow { v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11 };
        let time = self.sandbox.powers()?.now();
        self.twice(|recorder| {
            if recorder.metrics.is_none() {
                recorder.open_metrics()?;
            }
            recorder.answer(|guest, store| {
                let metrics = guest.model_foundry_logging_metrics();
                if metrics.call_log_row(&mut *store, columns, time, step, epoch, row)?.is_ok() {
                    return Ok(Ok(()));
                }
                Ok(Err(metrics.call_why_refused(store)?.unwrap_or_else(unsaid)))
            })
        })
    }

    /// Log rows in one call.
    pub(crate) fn log_rows(
        &mut self,
        columns: u32,
        times: &[u64],
        steps: &[u64],
        epochs: &[f64],
        values: &[f64],
    ) -> Result<()> {
        self.metrics(|logger, store, metrics| {
            logger.call_log_rows(store, metrics, columns, times, steps, epochs, values)
        })
    }

    /// Work as if it were this time, in microseconds since 1970-01-01T00:00:00Z: that of the call, for
    /// what was buffered since.
    pub(crate) fn at<R>(
        &mut self,
        time: u64,
        work: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        self.sandbox.powers()?.time_of_call = Some(time);
        let result = work(self);
        self.sandbox.powers()?.time_of_call = None;
        result
    }

    /// Call the metrics logger.
    pub(crate) fn metrics<R>(
        &mut self,
        call: impl Fn(&metrics::GuestLogger<'_>, &mut Store<State>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        self.twice(|recorder| {
            let metrics = match recorder.metrics {
                Some(metrics) => metrics,
                None => recorder.open_metrics()?,
            };
            recorder.answer(|guest, store| {
                call(&guest.model_foundry_logging_metrics().logger(), store, metrics)
            })
        })
    }

    fn open_metrics(&mut self) -> Result<ResourceAny> {
        let options = self.metrics_options.clone();
        let opened = self.answer(|guest, store| {
            guest.model_foundry_logging_metrics().logger().call_open(store, &options)
        })?;
        for columns in self.columns.clone() {
            self.answer(|guest, store| {
                let logger = guest.model_foundry_logging_metrics().logger();
                logger.call_columns(store, opened, &columns)
            })?;
        }
        self.metrics = Some(opened);
        Ok(opened)
    }

    /// Call the performance logger.
    pub(crate) fn performance<R>(
        &mut self,
        call: impl Fn(&performance::GuestLogger<'_>, &mut Store<State>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        self.twice(|recorder| {
            let config = recorder.config;
            let performance = match recorder.performance {
                Some(performance) => performance,
                None => recorder.answer(|guest, store| {
                    guest.model_foundry_logging_performance().logger().call_open(store, config)
                })?,
            };
            recorder.performance = Some(performance);
            recorder.answer(|guest, store| {
                call(&guest.model_foundry_logging_performance().logger(), store, performance)
            })
        })
    }

    /// Call the error tracker.
    pub(crate) fn errors<R>(
        &mut self,
        call: impl Fn(&errors::GuestTracker<'_>, &mut Store<State>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        self.twice(|recorder| {
            let (most, rank) = (recorder.max_errors, recorder.rank);
            let errors = match recorder.errors {
                Some(errors) => errors,
                None => recorder.answer(|guest, store| {
                    guest.model_foundry_logging_errors().tracker().call_open(store, most, rank)
                })?,
            };
            recorder.errors = Some(errors);
            recorder.answer(|guest, store| {
                call(&guest.model_foundry_logging_errors().tracker(), store, errors)
            })
        })
    }

    /// Call the keeper of console.log.
    pub(crate) fn transcript<R>(
        &mut self,
        call: impl Fn(&console::GuestTranscript<'_>, &mut Store<State>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        self.twice(|recorder| {
            let config = recorder.config;
            let transcript = match recorder.transcript {
                Some(transcript) => transcript,
                None => recorder.answer(|guest, store| {
                    let transcript = guest.model_foundry_logging_console().transcript();
                    Ok(Ok(transcript.call_constructor(store, config)?))
                })?,
            };
            recorder.transcript = Some(transcript);
            recorder.answer(|guest, store| {
                call(&guest.model_foundry_logging_console().transcript(), store, transcript)
            })
        })
    }

    /// A new structured logger's number.
    pub(crate) fn add_logger(&mut self, name: &str, context: Vec<Field>) -> usize {
        let logger = Some(Logger { name: name.to_owned(), context, started: None });
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

    /// Give a structured logger up.
    pub(crate) fn drop_logger(&mut self, number: usize) {
        let logger = self.loggers.get_mut(number).and_then(Option::take);
        if let Some(started) = logger.and_then(|logger| logger.started) {
            // A trap while it is dropped starts the component anew, and then it is gone as well.
            let _ = self.sandbox.call(|_, store| started.handle.resource_drop(store));
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
        let started = logger.started.take();
        if let Some(started) = started {
            self.sandbox.call(|_, store| started.handle.resource_drop(store))?;
        }
        Ok(())
    }

    /// The base context of a structured logger.
    pub(crate) fn context(&mut self, number: usize) -> Result<Vec<Field>> {
        Ok(self.logger(number)?.context.clone())
    }

    /// Log a structured record; the line for the console, if there is one.
    pub(crate) fn log(
        &mut self,
        number: usize,
        level: Level,
        message: &str,
        fields: &[Field],
    ) -> Result<Option<String>> {
        let time = self.sandbox.powers()?.now();
        self.packed(message, fields, |recorder, length, packed| {
            let (texts, fields) = (packed.texts(), packed.numbers());
            let line = if level >= recorder.config.console_level.into() {
                Some(recorder.structured(number, |logger, store, Started { handle, .. }| {
                    logger.call_text(store, handle, time, level.into(), length, texts, fields)
                })?)
            } else {
                None
            };
            recorder.with_logger(number, |guest, store, Started { number, .. }| {
                let loggers = guest.model_foundry_logging_structured();
                let level = level.into();
                let logged =
                    loggers.call_log(&mut *store, number, time, level, length, texts, fields)?;
                if logged.is_ok() {
                    return Ok(Ok(()));
                }
                Ok(Err(loggers.call_why_refused(store)?.unwrap_or_else(unsaid)))
            })?;
            Ok(line)
        })
    }

    /// A structured record as JSON, written nowhere.
    pub(crate) fn format(
        &mut self,
        number: usize,
        message: &str,
        fields: &[Field],
    ) -> Result<String> {
        self.packed(message, fields, |recorder, length, packed| {
            recorder.structured(number, |logger, store, Started { handle, .. }| {
                logger.call_format(store, handle, length, packed.texts(), packed.numbers())
            })
        })
    }

    /// Work with a message, whose length it is, and fields in one piece.
    fn packed<R>(
        &mut self,
        message: &str,
        fields: &[Field],
        work: impl FnOnce(&mut Self, u32, &Packer) -> Result<R>,
    ) -> Result<R> {
        let length = u32::try_from(message.len())
            .map_err(|_| Error::TooLarge("a message has less than 4 GiB".into()))?;
        let mut packer = std::mem::take(&mut self.packer);
        packer.pack(message, fields);
        let result = work(self, length, &packer);
        self.packer = packer;
        result
    }

    fn structured<R>(
        &mut self,
        number: usize,
        call: impl Fn(&structured::GuestLogger<'_>, &mut Store<State>, Started) -> Answer<R>,
    ) -> Result<R> {
        self.with_logger(number, |guest, store, started| {
            call(&guest.model_foundry_logging_structured().logger(), store, started)
        })
    }

    fn with_logger<R>(
        &mut self,
        number: usize,
        call: impl Fn(&Logging, &mut Store<State>, Started) -> Answer<R>,
    ) -> Result<R> {
        self.twice(|recorder| {
            let started = match recorder.logger(number)?.started {
                Some(started) => started,
                None => recorder.start_logger(number)?,
            };
            recorder.answer(|guest, store| call(guest, store, started))
        })
    }

    fn start_logger(&mut self, number: usize) -> Result<Started> {
        let config = self.config;
        let logger = self.logger(number)?;
        let (name, context) = (logger.name.clone(), fields_to(&logger.context));
        let started = self.answer(|guest, store| {
            let loggers = guest.model_foundry_logging_structured().logger();
            let handle = loggers.call_constructor(&mut *store, &name, config, &context)?;
            Ok(Ok(Started { handle, number: loggers.call_number(store, handle)? }))
        })?;
        self.logger(number)?.started = Some(started);
        Ok(started)
    }

    fn logger(&mut self, number: usize) -> Result<&mut Logger> {
        self.loggers
            .get_mut(number)
            .and_then(Option::as_mut)
            .ok_or_else(|| Error::Invalid(format!("there is no logger of number {number}")))
    }

    /// Call the component; after a trap all that it held is to be opened again.
    pub(crate) fn answer<R>(
        &mut self,
        call: impl FnOnce(&Logging, &mut Store<State>) -> Answer<R>,
    ) -> Result<R> {
        let answer = self.sandbox.call(call);
        if matches!(answer, Err(Error::Trap(_))) {
            if self.metrics.is_some() {
                // Its log cannot be taken up in the middle of a block.
                self.metrics_options.wandb = None;
            }
            self.metrics = None;
            self.performance = None;
            self.errors = None;
            self.transcript = None;
            for logger in self.loggers.iter_mut().flatten() {
                logger.started = None;
            }
        }
        Ok(answer??)
    }

    /// Do it again if the component trapped before anything was appended: the record is not lost, and not
    /// there twice.
    fn twice<R>(&mut self, mut work: impl FnMut(&mut Self) -> Result<R>) -> Result<R> {
        let before = self.sandbox.powers()?.files().appends();
        match work(self) {
            Err(Error::Trap(_)) if self.sandbox.powers()?.files().appends() == before => work(self),
            result => result,
        }
    }
}

/// What is told where the component refuses a record and does not say why.
fn unsaid() -> types::Error {
    types::Error::Other("it refused a record, and did not say why".into())
}
