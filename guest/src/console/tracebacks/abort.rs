//! Reads what is printed when a process dies below Python: by an exception of C++ that nothing catches, and by a
//! signal, as the `faulthandler` module prints it.

use super::{Body, Step, begins_as_log};

const THROWN: &str = "terminate called after throwing an instance of '";
const FATAL: &str = "Fatal Python error: ";

/// How much was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The class of a C++ exception; `what():` may follow.
    Thrown,
    /// The message; it may have more lines.
    Message,
    /// The stack of C++, or those of Python's threads.
    Stack,
}

/// A death that is being read.
pub(super) struct Abort {
    phase: Phase,
}

impl Abort {
    /// Begins at the line that [`header`] recognized.
    pub(super) fn new(header: Header<'_>, body: &mut Body) -> Self {
        match header {
            Header::Thrown(class) => {
                body.raise(class, "");
                Self { phase: Phase::Thrown }
            }
            Header::Fatal(message) => {
                body.raise("Fatal Python error", message);
                Self { phase: Phase::Stack }
            }
        }
    }

    pub(super) fn line(&mut self, line: &str, body: &mut Body) -> Step {
        let text = line.trim();
        if header(line).is_some() {
            return Step::Over;
        }
        if self.phase == Phase::Thrown
            && let Some(message) = text.strip_prefix("what():")
        {
            body.add_first_message(message.trim());
            self.phase = Phase::Message;
            return Step::Taken;
        }
        let is_stack = text.starts_with("frame #")
            || text.starts_with("Exception raised from")
            || text.starts_with("File \"")
            || text.starts_with("Current thread 0x")
            || text.starts_with("Thread 0x")
            || text.starts_with("Extension modules:")
            || text.starts_with("Python runtime state:")
            || text == "<no Python frame>";
        if is_stack {
            self.phase = Phase::Stack;
            return Step::Taken;
        }
        match self.phase {
            Phase::Message if !text.is_empty() && !begins_as_log(line) => Step::Message,
            // Blank lines stand between the stacks of threads.
            Phase::Stack | Phase::Message if text.is_empty() => Step::Taken,
            _ => Step::Over,
        }
    }
}

/// How a death begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header<'a> {
    /// The class of an exception of C++.
    Thrown(&'a str),
    /// The message of faulthandler.
    Fatal(&'a str),
}

/// If one begins in the line: where, and what it says.
pub(super) fn header(line: &str) -> Option<(usize, Header<'_>)> {
    if let Some(at) = line.find(THROWN) {
        let class = line[at + THROWN.len()..].trim_end().strip_suffix('\'')?;
        return (!class.is_empty()).then_some((at, Header::Thrown(class)));
    }
    let at = line.find(FATAL)?;
    let message = line[at + FATAL.len()..].trim();
    (!message.is_empty()).then_some((at, Header::Fatal(message)))
}
