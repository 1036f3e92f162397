//! Reads the tracebacks of IPython, which notebooks and papermill print: the class stands before the header, and the
//! frames have no fixed form, up to the line that begins with the class again.

use super::{Body, Step, begins_as_log};

const HEADER: &str = "Traceback (most recent call last)";

/// The most lines of frames. Without the class after them, the text only looked like a traceback.
const MAX_LINES: u32 = 1_000;

/// A traceback of IPython that is being read.
pub(super) struct Notebook {
    class: String,
    lines: u32,
    message: bool,
}

impl Notebook {
    pub(super) fn new(class: &str) -> Self {
        Self { class: class.to_owned(), lines: 0, message: false }
    }

    pub(super) fn line(&mut self, line: &str, body: &mut Body) -> Step {
        if self.message {
            let ends = line.trim().is_empty() || begins_as_log(line) || header(line).is_some();
            return if ends { Step::Over } else { Step::Message };
        }
        self.lines += 1;
        if self.lines > MAX_LINES || header(line).is_some() {
            return Step::Over;
        }
        if let Some(rest) = line.strip_prefix(self.class.as_str())
            && (rest.starts_with(':') || rest.trim().is_empty())
        {
            body.raise(&self.class, rest.trim_start_matches(':').trim());
            self.message = true;
        }
        Step::Taken
    }
}

/// If a traceback of IPython begins in the line: the class of the exception.
pub(super) fn header(line: &str) -> Option<&str> {
    let before = line.trim_end().strip_suffix(HEADER)?;
    let class = before.trim_end();
    let is_class = class.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && class.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
    (is_class && before.len() >= class.len() + 2).then_some(class)
}
