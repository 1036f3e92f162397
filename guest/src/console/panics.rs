//! Rust's panics, as the standard library prints them: since 1.73 with the message on a line of its own,
//! before that in quotes on the first line; since 1.90 with the thread's number.

use super::traceback::{self, Body, Step};

/// How a panic's error type reads.
const ERROR_TYPE: &str = "panic";

/// Where a panic is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The message must follow.
    Begun,
    /// The message may have more lines.
    Message,
    /// The message began in quotes that are still open.
    Quoted,
    /// A note or a backtrace may follow.
    Ended,
    /// The backtrace's frames.
    Backtrace,
}

/// A panic as far as it was read.
pub(super) struct Panic {
    phase: Phase,
}

impl Panic {
    /// A panic of whose first line `rest` stands behind `panicked at `.
    pub(super) fn new(rest: &str, body: &mut Body) -> Self {
        let phase = match rest.strip_prefix('\'') {
            None => {
                body.error_type = ERROR_TYPE.to_owned();
                Phase::Begun
            }
            Some(message) => match before_place(message) {
                Some(message) => {
                    body.raise(ERROR_TYPE, message);
                    Phase::Ended
                }
                None => {
                    body.raise(ERROR_TYPE, message);
                    Phase::Quoted
                }
            },
        };
        Self { phase }
    }

    /// Quotes that never close are not a panic's.
    pub(super) fn is_complete(&self) -> bool {
        self.phase != Phase::Quoted
    }

    pub(super) fn line(&mut self, line: &str, redrawn: bool, body: &mut Body) -> Step {
        if redrawn || header(line).is_some() {
            return Step::Over;
        }
        let phase = self.phase;
        match phase {
            Phase::Begun => {
                body.go_on(line);
                self.phase = Phase::Message;
                Step::Taken
            }
            Phase::Quoted => {
                let message = before_place(line);
                if message.is_some() {
                    self.phase = Phase::Ended;
                }
                if body.go_on(message.unwrap_or(line)) { Step::Taken } else { Step::Over }
            }
            _ if line.starts_with("note: ") => Step::Last,
            Phase::Backtrace if line.starts_with([' ', '\t']) => Step::Taken,
            _ if line == "stack backtrace:" => {
                self.phase = Phase::Backtrace;
                Step::Taken
            }
            Phase::Message | Phase::Ended if line.trim().is_empty() => {
                self.phase = Phase::Ended;
                Step::Taken
            }
            Phase::Message if !traceback::begins_as_log(line) => Step::Message,
            _ => Step::Over,
        }
    }
}

/// Where in a line a panic begins, and what stands behind `panicked at `.
pub(super) fn header(line: &str) -> Option<(usize, &str)> {
    let (before, rest) = line.split_once(" panicked at ")?;
    let start = before.rfind("thread '")?;
    let name = &before[start + "thread '".len()..];
    // `(12345)`, the thread's number.
    let name = match name.rsplit_once(" (") {
        Some((name, number)) if number.strip_suffix(')').is_some_and(traceback::exactly_digits) => {
            name
        }
        _ => name,
    };
    let is_panic = name.ends_with('\'')
        && (rest.starts_with('\'') || rest.trim_end().strip_suffix(':').is_some_and(is_place));
    is_panic.then_some((start, rest.trim_end()))
}

/// What stands before the quote and the place that end an old panic's message: `', src/main.rs:1:2`.
fn before_place(line: &str) -> Option<&str> {
    let (message, place) = line.trim_end().rsplit_once("', ")?;
    is_place(place).then_some(message)
}

/// `src/main.rs:1:2`
fn is_place(text: &str) -> bool {
    let mut parts = text.rsplitn(3, ':');
    let numbers = (&mut parts).take(2).filter(|part| traceback::exactly_digits(part)).count();
    numbers == 2 && parts.next().is_some_and(|file| !file.is_empty())
}
