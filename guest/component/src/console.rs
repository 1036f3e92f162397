use std::cell::RefCell;

use model_foundry_guest::config;
use model_foundry_guest::console::{Parser, Patterns};
use model_foundry_guest::transcript::Transcript;
use model_foundry_types::{Error, Event, LineReading, Output};

use crate::bindings::exports::model_foundry::logging::console as exported;
use crate::{Component, Host};

impl exported::Guest for Component {
    type OutputParser = OutputParser;
    type Transcript = ConsoleTranscript;
}

pub(crate) struct OutputParser(RefCell<Parser>);

impl exported::GuestOutputParser for OutputParser {
    fn open(last_step: Option<u64>, patterns: String) -> Result<exported::OutputParser, Error> {
        let parser = Parser::with_patterns(last_step, Patterns::from_json(&patterns)?);
        Ok(exported::OutputParser::new(Self(RefCell::new(parser))))
    }

    fn explain(&self, output: Output, bytes: Vec<u8>) -> Vec<LineReading> {
        self.0.borrow_mut().explain(output, &bytes)
    }

    fn feed(&self, output: Output, bytes: Vec<u8>) -> Vec<Event> {
        self.0.borrow_mut().feed(output, &bytes)
    }

    fn finish(&self) -> Vec<Event> {
        self.0.borrow_mut().finish()
    }
}

pub(crate) struct ConsoleTranscript(RefCell<Transcript<Host>>);

impl exported::GuestTranscript for ConsoleTranscript {
    fn open(config: String) -> Result<exported::Transcript, Error> {
        let transcript = Transcript::new(&Host, &config::parse_for_logger(&config)?);
        Ok(exported::Transcript::new(Self(RefCell::new(transcript))))
    }

    fn feed(&self, output: Output, bytes: Vec<u8>) -> Result<(), Error> {
        self.0.borrow_mut().feed(output, &bytes)
    }

    fn finish(&self) -> Result<(), Error> {
        self.0.borrow_mut().finish()
    }
}
