//! Watching a command: its output kept in console.log, and what it prints understood.

use wasmtime::component::ResourceAny;

use crate::Result;
pub use crate::bindings::exports::model_foundry::logging::console::Output;
use crate::bindings::exports::model_foundry::logging::console::{self as component};
use crate::convert::fields_from;
use crate::imports::Powers;
use crate::imports::clocks::Clock;
use crate::imports::files::Files;
use crate::run::Run;
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use model_foundry_guest::Field;

/// What was understood of a command's output.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Metrics of a step.
    Metrics {
        /// The step, as printed or inferred.
        step: u64,
        /// True where no step was printed.
        step_inferred: bool,
        /// The epoch, where one was printed.
        epoch: Option<f64>,
        /// Names and values as printed.
        metrics: Vec<Field>,
    },
    /// A traceback.
    Error {
        /// The exception's class, or "panic" for Rust.
        error_type: String,
        /// Its message.
        error_message: String,
        /// The lines themselves.
        traceback: String,
    },
}

/// Understands what a trainer prints: bytes in, metrics and tracebacks out. The understanding is the
/// component's; a parser has one of its own, so that output that fells it fells nothing else.
pub struct OutputParser {
    sandbox: Sandbox,
    parser: ResourceAny,
}

impl OutputParser {
    /// A parser that has seen nothing yet. Where the output names no steps, they count on from
    /// `last_step`.
    ///
    /// # Errors
    ///
    /// [`Error::Component`](crate::Error::Component) if the component cannot be started.
    pub fn new(last_step: Option<u64>) -> Result<Self> {
        let powers = Powers::new(Files::nowhere(), Clock::System);
        let mut sandbox = Sandbox::start(&Runtime::shared()?, powers)?;
        let parser = sandbox.call(|guest, store| {
            guest.model_foundry_logging_console().parser().call_constructor(store, last_step)
        })?;
        Ok(Self { sandbox, parser })
    }

    /// Take in bytes as the command wrote them, cut anywhere.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails: what the parser knew is gone, and it
    /// begins anew.
    pub fn feed(&mut self, output: Output, bytes: &[u8]) -> Result<Vec<Event>> {
        let parser = self.parser;
        let events = self.sandbox.call(|guest, store| {
            guest.model_foundry_logging_console().parser().call_feed(store, parser, output, bytes)
        });
        self.events(events)
    }

    /// The output has ended: what an unfinished line still held.
    ///
    /// # Errors
    ///
    /// As [`feed`](Self::feed).
    pub fn finish(&mut self) -> Result<Vec<Event>> {
        let parser = self.parser;
        let events = self.sandbox.call(|guest, store| {
            guest.model_foundry_logging_console().parser().call_finish(store, parser)
        });
        self.events(events)
    }

    fn events(&mut self, events: Result<Vec<component::Event>>) -> Result<Vec<Event>> {
        match events {
            Ok(events) => Ok(events.into_iter().map(Event::from).collect()),
            Err(error) => {
                self.parser = self.sandbox.call(|guest, store| {
                    guest.model_foundry_logging_console().parser().call_constructor(store, None)
                })?;
                Err(error)
            }
        }
    }
}

impl From<component::Event> for Event {
    fn from(event: component::Event) -> Self {
        match event {
            component::Event::Metrics(line) => Self::Metrics {
                step: line.step,
                step_inferred: line.step_inferred,
                epoch: line.epoch,
                metrics: fields_from(line.metrics),
            },
            component::Event::Error(traceback) => Self::Error {
                error_type: traceback.error_type,
                error_message: traceback.error_message,
                traceback: traceback.text,
            },
        }
    }
}

impl Run {
    /// Keep a command's output in console.log.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`](crate::OnError::Return): if it could not be kept.
    pub fn keep_output(&self, output: Output, bytes: &[u8]) -> Result<()> {
        self.keep(|recorder| {
            recorder.transcript(|transcript, store, handle| {
                transcript.call_feed(store, handle, output, bytes)
            })
        })
    }

    /// The command's output has ended: keep what was left of a line.
    ///
    /// # Errors
    ///
    /// As [`keep_output`](Self::keep_output).
    pub fn finish_output(&self) -> Result<()> {
        self.keep(|recorder| {
            recorder.transcript(|transcript, store, handle| transcript.call_finish(store, handle))
        })
    }

    /// Log what was understood of a command's output.
    ///
    /// # Errors
    ///
    /// As [`MetricsLogger::log_step`](crate::MetricsLogger::log_step).
    pub fn log_event(&self, event: &Event) -> Result<()> {
        match event {
            Event::Metrics { step, step_inferred: false, epoch, metrics } => {
                self.metrics().log_step(*step, *epoch, metrics)
            }
            Event::Metrics { step, step_inferred: true, epoch, metrics } => {
                self.metrics().log_inferred_step(*step, *epoch, metrics)
            }
            Event::Error { error_type, error_message, traceback } => {
                self.errors().log(error_type, error_message, traceback, &[])
            }
        }
    }
}
