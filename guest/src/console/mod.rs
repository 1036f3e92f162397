//! What a trainer prints, understood: metrics and tracebacks out of lines of text.
//!
//! Nothing is asked of the trainer, so everything here is a guess at what a line means, and the rule is never
//! to invent: a line counts as metrics only where it names a step, an epoch or a progress bar, or is a record
//! whose names speak of training, and where it holds a number besides.
//!
//! # Steps
//!
//! A line's step is the one it prints; a progress bar prints how far it is. A line that prints none has
//! [`MetricsLine::step_inferred`] set, and takes the step that any line, of either stream, printed last. Where
//! none was ever printed such lines are counted: 1, 2, 3, or on from the step that [`Parser::new`] was given.
//!
//! # Bounds
//!
//! Of a line at most 4 MiB are kept, and a longer one is no event; of a traceback at most 256 KiB. Reading
//! takes time linear in the bytes fed, whatever they are. The events are the same wherever the bytes are cut.

mod dict;
mod found;
mod lines;
mod metrics;
mod names;
mod numbers;
mod pairs;
mod panics;
mod python;
mod tokens;
mod traceback;

#[cfg(test)]
mod tests;

use found::Found;
use lines::{Line, LineBuffer};
use traceback::{Offer, Tracebacks};

use crate::value::Field;

/// Which stream of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Metrics found in a line.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsLine {
    /// The step: as printed, or inferred.
    pub step: u64,
    /// The line named no step.
    pub step_inferred: bool,
    /// The epoch, where one is named: by the line, or before a progress bar by a line of its own.
    pub epoch: Option<f64>,
    /// Names and values as printed, integers and floats. Spaces in names are `_`; units never scale a value.
    pub metrics: Vec<Field>,
}

/// A traceback found in lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traceback {
    /// The class of the last exception of the chain, dotted as printed, or `panic` for Rust.
    pub error_type: String,
    /// Its message, of several lines where it has them.
    pub error_message: String,
    /// The lines themselves, without colours; the first 256 KiB of them.
    pub text: String,
}

/// Something found.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Metrics.
    Metrics(MetricsLine),
    /// An error.
    Error(Traceback),
}

/// Reads the output of one command.
#[derive(Default)]
pub struct Parser {
    stdout: StreamState,
    stderr: StreamState,
    steps: Steps,
}

/// What is known of one stream.
#[derive(Default)]
struct StreamState {
    lines: LineBuffer,
    reader: Reader,
}

/// What is known of one stream's whole lines.
#[derive(Default)]
struct Reader {
    tracebacks: Tracebacks,
    /// The epoch that a line of its own announced.
    epoch: Option<f64>,
    /// What the last metrics line printed, if it was redrawn.
    last: Option<Found>,
}

/// The steps of lines that print none.
#[derive(Default)]
struct Steps {
    printed: Option<u64>,
    counted: u64,
}

impl Steps {
    /// The step of a line, and whether it is inferred.
    fn of(&mut self, printed: Option<u64>) -> (u64, bool) {
        if printed.is_some() {
            self.printed = printed;
        }
        let step = self.printed.unwrap_or_else(|| {
            self.counted = self.counted.saturating_add(1);
            self.counted
        });
        (step, printed.is_none())
    }
}

impl Parser {
    /// A parser that has seen nothing yet. A resumed run's inferred steps count on from `last_step`, until a
    /// step is printed.
    pub fn new(last_step: Option<u64>) -> Self {
        let steps = Steps { printed: None, counted: last_step.unwrap_or(0) };
        Self { steps, ..Self::default() }
    }

    /// Reads bytes as the command wrote them, cut anywhere, of any encoding, and returns what the lines that
    /// ended hold. A line that a carriage return ended waits for the byte behind it, and a traceback for the
    /// line that shows that it is over.
    pub fn feed(&mut self, stream: Stream, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let state = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        state.lines.feed(bytes, |line| state.reader.line(&line, &mut self.steps, &mut events));
        events
    }

    /// The output has ended: returns what unfinished lines and tracebacks still held, standard output's
    /// first. A traceback whose exception never came is none.
    pub fn finish(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for state in [&mut self.stdout, &mut self.stderr] {
            state.lines.finish(|line| state.reader.line(&line, &mut self.steps, &mut events));
            state.reader.tracebacks.finish(&mut events);
        }
        events
    }
}

impl Reader {
    fn line(&mut self, line: &Line<'_>, steps: &mut Steps, events: &mut Vec<Event>) {
        let text = lines::clean(line.bytes);
        let redrawn = line.over_another || line.written_over;
        match self.tracebacks.offer(&text, redrawn, events) {
            Offer::Taken => {}
            // A bar stood on the line when the traceback began.
            Offer::TakenBehind(length) if !line.cut => {
                self.metrics(&text[..length], true, true, steps, events);
            }
            Offer::TakenBehind(_) => {}
            Offer::Free => {
                if !line.cut {
                    self.metrics(&text, line.written_over, redrawn, steps, events);
                }
            }
            // The lines of a message may be any; those that print metrics are the trainer's, going on.
            Offer::Message(traceback) => {
                let goes_on = !line.cut && metrics::read(&text).is_some();
                if goes_on {
                    self.tracebacks.close(traceback, events);
                    self.metrics(&text, line.written_over, redrawn, steps, events);
                } else {
                    self.tracebacks.take_message(traceback, &text, events);
                }
            }
        }
    }

    fn metrics(
        &mut self,
        text: &str,
        written_over: bool,
        redrawn: bool,
        steps: &mut Steps,
        events: &mut Vec<Event>,
    ) {
        let Some(reading) = metrics::read(text) else {
            self.epoch = metrics::announced_epoch(text).or(self.epoch);
            return;
        };
        let mut found = reading.found;
        if reading.bar {
            found.epoch = found.epoch.or(self.epoch);
        }
        // What is written over is a state of something, and without a step there is no telling of what.
        if written_over && found.step.is_none() {
            return;
        }
        // Bars are redrawn by the clock too.
        let redrawn = redrawn && found.step.is_some();
        if redrawn && self.last.as_ref().is_some_and(|last| last.prints_same(&found)) {
            return;
        }
        self.last = redrawn.then(|| found.clone());
        let (step, step_inferred) = steps.of(found.step);
        let Found { epoch, metrics, .. } = found;
        events.push(Event::Metrics(MetricsLine { step, step_inferred, epoch, metrics }));
    }
}
