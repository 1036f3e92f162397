use std::cell::RefCell;

use super::bindings::exports::model_foundry::logging::{config, console as exported};
use super::{Component, Host, fields_to, types};
use crate::console::{Event, Parser, Stream};
use crate::transcript::Transcript;
use types::Error;

impl exported::Guest for Component {
    type Parser = ConsoleParser;
    type Transcript = ConsoleTranscript;
}

pub(super) struct ConsoleParser(RefCell<Parser>);

impl exported::GuestParser for ConsoleParser {
    fn new(last_step: Option<u64>) -> Self {
        Self(RefCell::new(Parser::new(last_step)))
    }

    fn feed(&self, output: exported::Output, bytes: Vec<u8>) -> Vec<exported::Event> {
        events(self.0.borrow_mut().feed(output.into(), &bytes))
    }

    fn finish(&self) -> Vec<exported::Event> {
        events(self.0.borrow_mut().finish())
    }
}

pub(super) struct ConsoleTranscript(RefCell<Transcript<Host>>);

impl exported::GuestTranscript for ConsoleTranscript {
    fn new(config: config::LoggingConfig) -> Self {
        Self(RefCell::new(Transcript::new(&Host, &config.into())))
    }

    fn feed(&self, output: exported::Output, bytes: Vec<u8>) -> Result<(), Error> {
        Ok(self.0.borrow_mut().feed(output.into(), &bytes)?)
    }

    fn finish(&self) -> Result<(), Error> {
        Ok(self.0.borrow_mut().finish()?)
    }
}

impl From<exported::Output> for Stream {
    fn from(output: exported::Output) -> Self {
        match output {
            exported::Output::Stdout => Self::Stdout,
            exported::Output::Stderr => Self::Stderr,
        }
    }
}

fn events(events: Vec<Event>) -> Vec<exported::Event> {
    events
        .into_iter()
        .map(|event| match event {
            Event::Metrics(line) => exported::Event::Metrics(exported::MetricsLine {
                step: line.step,
                step_inferred: line.step_inferred,
                epoch: line.epoch,
                metrics: fields_to(line.metrics),
            }),
            Event::Error(traceback) => exported::Event::Error(exported::Traceback {
                error_type: traceback.error_type,
                error_message: traceback.error_message,
                text: traceback.text,
            }),
        })
        .collect()
}
