//! Supervising a command: its output in console.log, and what was found in it.

use model_foundry_types::{Event, Output};
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
        let services = HostServices::new(Files::nowhere(), Clock::System);
        let mut sandbox = Sandbox::start(&Runtime::shared()?, services)?;
        let parser = open(&mut sandbox, last_step)?;
        Ok(Self { sandbox, parser })
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

    fn or_start_over(&mut self, events: Result<Vec<Event>>) -> Result<Vec<Event>> {
        if events.is_err() {
            self.parser = open(&mut self.sandbox, None)?;
        }
        events
    }
}

fn open(sandbox: &mut Sandbox, last_step: Option<u64>) -> Result<ResourceAny> {
    sandbox.call(|guest, store| {
        let console = guest.model_foundry_logging_console();
        console.output_parser().call_constructor(store, last_step)
    })
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
            Event::Metrics(line) if line.step_inferred => {
                self.metrics().log_inferred_step(line.step, line.epoch, &line.metrics)
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
