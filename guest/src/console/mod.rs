//! Finds metrics and tracebacks in the output of a trainer.
//!
//! The trainer does not cooperate, so the parser has to guess what a line means. Its rule is never to invent
//! anything: a line counts as metrics only if its form is one that a recognizer knows, and the recognizer has a
//! reason why the line is no noise.
//!
//! A line passes through these, each in its own module:
//!
//! 1. `lines`: bytes become lines, without escape sequences.
//! 2. `tracebacks`: errors, which may take any line.
//! 3. `prefix`: what loggers and launchers print before a line is removed.
//! 4. The recognizers: `pattern` (the user's own), `record`, `bar`, `table`, `block`, `counted_row` and
//!    `pairs`. What one reads is an observation: phase, epoch, step and metrics as printed.
//! 5. `position`: the step of the run. Only the training's own counters move it. What is placed by inference has
//!    [`MetricsLine::step_inferred`] set.
//! 6. `phase`: the metrics of evaluations get names of their own.
//!
//! # Bounds
//!
//! The parser buffers at most 4 MiB of a line and reports nothing for a longer one, and it retains at most
//! 256 KiB of a traceback. It takes time linear in the number of bytes, whatever they are. The events do not
//! depend on how the bytes are divided into calls.

mod bar;
mod block;
mod counted_row;
mod dict;
mod lines;
mod names;
mod numbers;
mod observation;
mod pairs;
pub mod pattern;
mod phase;
mod position;
mod prefix;
mod reader;
mod record;
mod table;
mod tokens;
mod tracebacks;

#[cfg(test)]
mod tests;

use lines::LineSplitter;
use reader::{Out, Reader, Shared};

pub use model_foundry_types::{Event, LineReading, MetricsLine, Output, Traceback};
pub use pattern::Patterns;

/// Parses the output of one command.
#[derive(Default)]
pub struct Parser {
    stdout: StreamState,
    stderr: StreamState,
    shared: Shared,
}

/// The state of one stream.
#[derive(Default)]
struct StreamState {
    lines: LineSplitter,
    reader: Reader,
    /// How many lines were read.
    count: u64,
}

impl Parser {
    /// A parser for the output of a command from its start. Until a step is printed, inferred steps are counted
    /// on from `last_step`, the last step of the run that is resumed.
    pub fn new(last_step: Option<u64>) -> Self {
        Self::with_patterns(last_step, Patterns::default())
    }

    /// A parser that tries the user's own patterns before its recognizers.
    pub fn with_patterns(last_step: Option<u64>, patterns: Patterns) -> Self {
        Self { shared: Shared::new(last_step, patterns), ..Self::default() }
    }

    /// Takes the next bytes of a stream, of any length and encoding, and returns the events of the lines that
    /// they complete. A line that ends in a carriage return is complete with the next byte, a traceback with the
    /// first line that does not belong to it, and a redrawn progress bar with its next position.
    pub fn feed(&mut self, stream: Output, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let (state, shared) = self.stream(stream);
        state.lines.feed(bytes, |line| {
            let mut out = Out { shared, events: &mut events };
            state.reader.line(&line, &mut out);
        });
        events
    }

    fn stream(&mut self, stream: Output) -> (&mut StreamState, &mut Shared) {
        let state = match stream {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        };
        (state, &mut self.shared)
    }

    /// Ends the output: returns the events of unfinished lines and tracebacks, first those of standard output.
    /// A traceback without its exception is dropped.
    pub fn finish(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for state in [&mut self.stdout, &mut self.stderr] {
            let mut out = Out { shared: &mut self.shared, events: &mut events };
            state.lines.finish(|line| {
                state.reader.line(&line, &mut out);
            });
            state.reader.finish(&mut out);
        }
        events
    }

    /// Like [`feed`](Self::feed), but returns each line with what was read in it and why. The event of a block or of
    /// a redrawn bar comes with the line that ends it.
    pub fn explain(&mut self, stream: Output, bytes: &[u8]) -> Vec<LineReading> {
        let mut readings = Vec::new();
        let (state, shared) = self.stream(stream);
        state.lines.feed(bytes, |line| {
            let mut events = Vec::new();
            let text = lines::excerpt(line.bytes);
            let mut out = Out { shared, events: &mut events };
            let note = state.reader.line(&line, &mut out);
            state.count += 1;
            readings.push(LineReading {
                line: state.count,
                text,
                recognizer: note.recognizer.to_owned(),
                reason: note.reason.to_owned(),
                events,
            });
        });
        readings
    }
}
