//! Reads Rust's panics as the standard library prints them. Since Rust 1.73 the message has a line of its own;
//! before, it was in quotes on the first line. Since 1.90 the thread's number is printed too.

use super::{self as traceback, Body, Step};

/// The error type of a panic.
const ERROR_TYPE: &str = "panic";

/// How much of a panic was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first line; the message must follow.
    Begun,
    /// A line of the message; more may follow.
    Message,
    /// The beginning of a quoted message; its end must follow.
    Quoted,
    /// The whole message; a note or a backtrace may follow.
    Ended,
    /// The heading of the backtrace or one of its frames.
    Backtrace,
}

/// A panic that is being read.
pub(super) struct Panic {
    phase: Phase,
}

impl Panic {
    /// Begins a panic; `rest` is the text after `panicked at ` in its first line.
    pub(super) fn new(rest: &str, body: &mut Body) -> Self {
        let phase = match rest.strip_prefix('\'') {
            None => {
                body.error_type = ERROR_TYPE.to_owned();
                Phase::Begun
            }
            Some(message) => match before_location(message) {
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

    /// Whether this is a panic. Without a closing quote it is not.
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
                body.add_message_line(line);
                self.phase = Phase::Message;
                Step::Taken
            }
            Phase::Quoted => {
                let message = before_location(line);
                if message.is_some() {
                    self.phase = Phase::Ended;
                }
                if body.add_message_line(message.unwrap_or(line)) {
                    Step::Taken
                } else {
                    Step::Over
                }
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

/// If a panic begins in the line: where, and the text after `panicked at `.
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
        && (rest.starts_with('\'') || rest.trim_end().strip_suffix(':').is_some_and(is_location));
    is_panic.then_some((start, rest.trim_end()))
}

/// The end of an old panic's message, before the closing quote and the location: `', src/main.rs:1:2`.
fn before_location(line: &str) -> Option<&str> {
    let (message, location) = line.trim_end().rsplit_once("', ")?;
    is_location(location).then_some(message)
}

/// Whether the text is a location such as `src/main.rs:1:2`.
fn is_location(text: &str) -> bool {
    let mut parts = text.rsplitn(3, ':');
    let numbers = (&mut parts).take(2).filter(|part| traceback::exactly_digits(part)).count();
    numbers == 2 && parts.next().is_some_and(|file| !file.is_empty())
}
