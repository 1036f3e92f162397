//! Finds metrics and tracebacks in the output of a trainer.
//!
//! The trainer does not cooperate, so the parser has to guess what a line means. Its rule is never to invent
//! anything. A line counts as metrics only if it contains a number, and either names a step, an epoch or a
//! progress bar, or is a record with the names of training metrics.
//!
//! # Steps
//!
//! A line's step is the one that it prints; for a progress bar that is its position. A line without a step
//! takes the last step that any line printed, on either stream, and has [`MetricsLine::step_inferred`] set. As
//! long as no line has printed a step, lines without one are numbered 1, 2, 3 and so on, or on from the step
//! passed to [`Parser::new`].
//!
//! # Bounds
//!
//! The parser buffers at most 4 MiB of a line and reports nothing for a longer one, and it retains at most
//! 256 KiB of a traceback. It takes time linear in the number of bytes, whatever they are. The events do not
//! depend on how the bytes are divided into calls.

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

use found::RecordMatch;
use lines::{Line, LineSplitter};
use traceback::{Offer, Tracebacks};

pub use model_foundry_types::{Event, MetricsLine, Output, Traceback};

/// Parses the output of one command.
#[derive(Default)]
pub struct Parser {
    stdout: StreamState,
    stderr: StreamState,
    steps: Steps,
}

/// The state of one stream.
#[derive(Default)]
struct StreamState {
    lines: LineSplitter,
    reader: Reader,
}

/// Reads the lines of one stream.
#[derive(Default)]
struct Reader {
    tracebacks: Tracebacks,
    /// The epoch that the last line with nothing but an epoch announced.
    epoch: Option<f64>,
    /// The last metrics line, if it was redrawn.
    last: Option<RecordMatch>,
}

/// Infers the steps of lines that print none.
#[derive(Default)]
struct Steps {
    printed: Option<u64>,
    counted: u64,
}

impl Steps {
    /// A line's step, and whether it is inferred.
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
    /// A parser for the output of a command from its start. Until a step is printed, inferred steps are counted
    /// on from `last_step`, the last step of the run that is resumed.
    pub fn new(last_step: Option<u64>) -> Self {
        let steps = Steps { printed: None, counted: last_step.unwrap_or(0) };
        Self { steps, ..Self::default() }
    }

    /// Takes the next bytes of a stream, of any length and encoding, and returns the events of the lines that
    /// they complete. A line that ends in a carriage return is complete with the next byte, and a traceback
    /// with the first line that does not belong to it.
    pub fn feed(&mut self, stream: Output, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let state = match stream {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        };
        state.lines.feed(bytes, |line| state.reader.line(&line, &mut self.steps, &mut events));
        events
    }

    /// Ends the output: returns the events of unfinished lines and tracebacks, first those of standard output.
    /// A traceback without its exception is dropped.
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
            // The traceback began on the line of a progress bar.
            Offer::TakenAfter(length) if !line.cut => {
                self.metrics(&text[..length], true, true, steps, events);
            }
            Offer::TakenAfter(_) => {}
            Offer::Free => {
                if !line.cut {
                    self.metrics(&text, line.written_over, redrawn, steps, events);
                }
            }
            // A message may contain any line, but a line with metrics shows that the trainer continues.
            Offer::Message(traceback) => {
                let continues = !line.cut && metrics::read(&text).is_some();
                if continues {
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
        // An overwritten line shows an intermediate state, and without a step it is unknown of what.
        if written_over && found.step.is_none() {
            return;
        }
        // Progress bars are also redrawn when nothing but the time has changed.
        let redrawn = redrawn && found.step.is_some();
        if redrawn && self.last.as_ref().is_some_and(|last| last.prints_same(&found)) {
            return;
        }
        self.last = redrawn.then(|| found.clone());
        let (step, step_inferred) = steps.of(found.step);
        let RecordMatch { epoch, metrics, .. } = found;
        events.push(Event::Metrics(MetricsLine { step, step_inferred, epoch, metrics }));
    }
}
