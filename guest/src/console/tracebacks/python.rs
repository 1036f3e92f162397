//! Reads Python's tracebacks as the `traceback` module of Python 3.9 to 3.14 prints them.

use super::{self as traceback, Body, Step};

const HEADER: &str = "Traceback (most recent call last):";

/// The lines between the exceptions of a chain.
pub(super) const CHAINS: [&str; 2] = [
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
];

/// How much of a traceback was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Frames; at least one must come before the exception.
    Frames { seen: bool },
    /// The exception; its message may have more lines.
    Message,
    /// A blank line; a chain may follow.
    Between,
    /// The line that continues a chain; the next traceback must follow.
    Chained,
    /// The members of an exception group.
    Members,
}

/// A Python traceback that is being read.
pub(super) struct Python {
    phase: Phase,
    /// Whether it is that of an exception group, whose lines begin with `  | `.
    group: bool,
    /// Whether it is that of a syntax error in the program itself, which has one frame and no header.
    of_syntax: bool,
    /// A line came after the header.
    began: bool,
}

impl Python {
    pub(super) fn new(group: bool) -> Self {
        Self { phase: Phase::Frames { seen: false }, group, of_syntax: false, began: false }
    }

    /// Begins the traceback of a syntax error, at an [`is_syntax_frame`] line.
    pub(super) fn of_syntax() -> Self {
        Self { phase: Phase::Frames { seen: true }, group: false, of_syntax: true, began: true }
    }

    /// Whether the exception was read.
    pub(super) fn is_complete(&self, body: &Body) -> bool {
        !body.error_type.is_empty()
    }

    pub(super) fn line(&mut self, line: &str, redrawn: bool, body: &mut Body) -> Step {
        if redrawn {
            // A progress bar can be redrawn between two frames, or after an exception that was caught.
            return match self.phase {
                Phase::Frames { .. } => Step::Stray,
                _ => Step::Over,
            };
        }
        let line = if self.group {
            let text = line.trim_start();
            if text.starts_with('+') && self.phase != (Phase::Frames { seen: false }) {
                self.phase = Phase::Members;
            }
            match text.strip_prefix('|') {
                _ if self.phase == Phase::Members => {
                    if text.starts_with(['|', '+']) {
                        return Step::Taken;
                    }
                    self.group = false;
                    self.phase = Phase::Between;
                    line
                }
                Some(text) => text.strip_prefix(' ').unwrap_or(text),
                None => line,
            }
        } else {
            line
        };
        match self.phase {
            Phase::Frames { seen } => self.frame(line, seen, body),
            _ if CHAINS.contains(&line.trim()) => {
                self.phase = Phase::Chained;
                Step::Taken
            }
            Phase::Chained => match header(line) {
                Some((start, group)) if line[..start].trim().is_empty() => {
                    self.group = group;
                    self.phase = Phase::Frames { seen: false };
                    self.began = false;
                    Step::Taken
                }
                _ if line.trim().is_empty() => Step::Taken,
                _ => Step::Over,
            },
            _ if line.trim().is_empty() => {
                self.phase = Phase::Between;
                Step::Taken
            }
            Phase::Message if header(line).is_none() && !traceback::begins_as_log(line) => {
                Step::Message
            }
            _ => Step::Over,
        }
    }

    fn frame(&mut self, line: &str, seen: bool, body: &mut Body) -> Step {
        // loguru prints a blank line first, and marks the frame that caught the exception.
        let blank = line.is_empty() && !std::mem::replace(&mut self.began, true);
        if blank {
            return Step::Taken;
        }
        if line.starts_with([' ', '\t']) || line.is_empty() || line.starts_with("> File \"") {
            let seen = seen || is_frame(line);
            self.phase = Phase::Frames { seen };
            // A text that only mentions the header has no frame after it.
            return if seen { Step::Taken } else { Step::Over };
        }
        if !seen || header(line).is_some() {
            return Step::Over;
        }
        match exception(line) {
            Some((class, message)) if !self.of_syntax || is_syntax_error(class) => {
                body.raise(class, message);
                self.phase = Phase::Message;
                Step::Taken
            }
            // Python prints nothing else after the frame of a syntax error.
            _ if self.of_syntax => Step::Over,
            _ => Step::Stray,
        }
    }
}

/// If the line ends in a traceback's header: where the header begins, and whether it is an exception group's.
pub(super) fn header(line: &str) -> Option<(usize, bool)> {
    let before = line.trim_end().strip_suffix(HEADER)?;
    match before.strip_suffix("+ Exception Group ") {
        // The group's own indentation is not part of the tag.
        Some(before) => Some((before.len() - indentation(before), true)),
        None => Some((before.len(), false)),
    }
}

/// How many spaces at the end of a tag are the indentation of an exception group: at most two.
fn indentation(before: &str) -> usize {
    (before.len() - before.trim_end_matches(' ').len()).min(2)
}

/// Whether the line begins a frame, also in the margin of an exception group.
pub(super) fn is_frame(line: &str) -> bool {
    line.trim_start_matches([' ', '|', '\t', '>']).starts_with("File \"")
}

/// Whether the line names a file and a line but no function, which is how the traceback of a syntax error in
/// the program itself begins.
pub(super) fn is_syntax_frame(line: &str) -> bool {
    line.starts_with("  File \"")
        && line
            .rsplit_once("\", line ")
            .is_some_and(|(_, number)| traceback::exactly_digits(number.trim_end()))
}

fn is_syntax_error(class: &str) -> bool {
    matches!(class, "SyntaxError" | "IndentationError" | "TabError")
}

/// The class and the message in the line that ends a traceback.
pub(super) fn exception(line: &str) -> Option<(&str, &str)> {
    let (class, message) = match line.split_once(':') {
        Some((class, message)) if message.is_empty() || message.starts_with(' ') => {
            (class, message.trim())
        }
        Some(_) => return None,
        None => (line.trim_end(), ""),
    };
    let is_identifier = |part: &str| {
        part == "<locals>"
            || part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    let is_level = matches!(class, "DEBUG" | "INFO" | "WARNING" | "WARN" | "ERROR" | "CRITICAL");
    // Class names begin with a capital, except some in the standard library: `struct.error`, `socket.timeout`.
    let is_class = class.contains('.') || class.starts_with(|c: char| c.is_uppercase() || c == '_');
    (is_class && !is_level && class.split('.').all(is_identifier)).then_some((class, message))
}
