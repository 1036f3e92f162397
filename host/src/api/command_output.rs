//! Supervising a command: its output in console.log, and what was found in it.

use model_foundry_types::{Event, LineReading, Output, StepOrigin};
use wasmtime::component::ResourceAny;

use crate::Result;
use crate::api::run::Run;
use crate::engine::runtime::Runtime;
use crate::engine::sandbox::Sandbox;
use crate::services::HostServices;
use crate::services::clocks::Clock;
use crate::services::files::Files;

/// Finds metrics and tracebacks in what a trainer prints. A parser has an instance of the component to itself, so that
/// output that makes the component fail affects nothing else.
pub struct OutputParser {
    sandbox: Sandbox,
    parser: ResourceAny,
    patterns: String,
}

impl std::fmt::Debug for OutputParser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutputParser").finish_non_exhaustive()
    }
}

impl OutputParser {
    /// A parser that has read nothing yet. Inferred steps continue after `last_step`.
    ///
    /// # Errors
    ///
    /// [`Error::Component`](crate::Error::Component) if the component cannot be started.
    pub fn new(last_step: Option<u64>) -> Result<Self> {
        Self::with_patterns(last_step, "")
    }

    /// A parser that tries patterns before its recognizers. `patterns` is JSON:
    /// `{"patterns": ["it (?<step>\d+) ce=(?<loss>\S+)"], "ignore": [], "step_from": ""}`, where every key may be
    /// missing. A pattern is a regular expression in the syntax of the `regex-lite` crate, with groups named `step`, `epoch`,
    /// `phase` and after metrics. Lines that one of `ignore` matches are not read. `step_from` names the metric that is
    /// the step.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) with the pattern that does not compile or has no metric;
    /// [`Error::Component`](crate::Error::Component) if the component cannot be started.
    pub fn with_patterns(last_step: Option<u64>, patterns: &str) -> Result<Self> {
        let services = HostServices::new(Files::nowhere(), Clock::System);
        let mut sandbox = Sandbox::start(&Runtime::shared()?, services)?;
        let parser = open(&mut sandbox, last_step, patterns)?;
        Ok(Self { sandbox, parser, patterns: patterns.to_owned() })
    }

    /// As [`feed`](Self::feed), but returns every line with what was read in it and why. The event of a block or of a
    /// redrawn bar comes with the line that ends it.
    ///
    /// # Errors
    ///
    /// As [`feed`](Self::feed).
    pub fn explain(&mut self, output: Output, bytes: &[u8]) -> Result<Vec<LineReading>> {
        let parser = self.parser;
        let readings = self.sandbox.call(|guest, store| {
            let console = guest.model_foundry_logging_console();
            console.output_parser().call_explain(store, parser, output, bytes)
        });
        self.or_start_over(readings)
    }

    /// Read bytes as the command wrote them, cut at any place.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails. The parser starts over then.
    pub fn feed(&mut self, output: Output, bytes: &[u8]) -> Result<Vec<Event>> {
        let parser = self.parser;
        let events = self.sandbox.call(|guest, store| {
            let console = guest.model_foundry_logging_console();
            console.output_parser().call_feed(store, parser, output, bytes)
        });
        self.or_start_over(events)
    }

    /// The output has ended: what an unfinished line still held.
    ///
    /// # Errors
    ///
    /// As [`feed`](Self::feed).
    pub fn finish(&mut self) -> Result<Vec<Event>> {
        let parser = self.parser;
        let events = self.sandbox.call(|guest, store| {
            guest.model_foundry_logging_console().output_parser().call_finish(store, parser)
        });
        self.or_start_over(events)
    }

    fn or_start_over<T>(&mut self, read: Result<T>) -> Result<T> {
        if read.is_err() {
            self.parser = open(&mut self.sandbox, None, &self.patterns)?;
        }
        read
    }
}

fn open(sandbox: &mut Sandbox, last_step: Option<u64>, patterns: &str) -> Result<ResourceAny> {
    let opened = sandbox.call(|guest, store| {
        let console = guest.model_foundry_logging_console();
        console.output_parser().call_open(store, last_step, patterns)
    });
    Ok(opened??)
}

/// For the program, which supervises a command.
#[doc(hidden)]
impl Run {
    /// Write a command's output to console.log.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`](crate::OnError::Return): if it could not be written.
    pub fn write_output(&self, output: Output, bytes: &[u8]) -> Result<()> {
        self.core().record(|guest| {
            guest.transcript(|transcript, store, handle| {
                transcript.call_feed(store, handle, output, bytes)
            })
        })
    }

    /// The command's output has ended: write what was left of a line.
    ///
    /// # Errors
    ///
    /// As [`write_output`](Self::write_output).
    pub fn finish_output(&self) -> Result<()> {
        self.core().record(|guest| {
            guest.transcript(|transcript, store, handle| transcript.call_finish(store, handle))
        })
    }

    /// Log what was found in a command's output.
    ///
    /// # Errors
    ///
    /// As [`MetricsLogger::log_step`](crate::MetricsLogger::log_step).
    pub fn log_event(&self, event: &Event) -> Result<()> {
        match event {
            Event::Metrics(line) if line.step_inferred || line.epoch_step.is_some() => {
                let origin =
                    StepOrigin { inferred: line.step_inferred, epoch_step: line.epoch_step };
                self.metrics().log_step_of_output(line.step, line.epoch, &line.metrics, origin)
            }
            Event::Metrics(line) => self.metrics().log_step(line.step, line.epoch, &line.metrics),
            Event::Error(traceback) => self.errors().log(
                &traceback.error_type,
                &traceback.error_message,
                &traceback.text,
                &[],
            ),
        }
    }
}
