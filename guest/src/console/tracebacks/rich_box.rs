//! Reads the tracebacks that rich draws in a box (accelerate, typer, kohya): frames inside of it, the exception below.

use super::python::{CHAINS, exception};
use super::{Body, Step, begins_as_log};

const TITLE: &str = "Traceback (most recent call last)";

/// How much of a traceback was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Inside,
    /// The box is closed; the exception must follow.
    Below,
    Message,
    /// A blank line; a chain may follow.
    Between,
    Chained,
}

/// A traceback in a box that is being read.
pub(super) struct RichBox {
    phase: Phase,
}

impl RichBox {
    pub(super) fn new() -> Self {
        Self { phase: Phase::Inside }
    }

    pub(super) fn line(&mut self, line: &str, body: &mut Body) -> Step {
        let text = line.trim();
        match self.phase {
            Phase::Inside if text.starts_with(['│', '┃', '|', '├']) => Step::Taken,
            Phase::Inside if text.starts_with(['╰', '└', '┗', '+']) => {
                self.phase = Phase::Below;
                Step::Taken
            }
            Phase::Inside => Step::Stray,
            Phase::Below => match exception(text) {
                Some((class, message)) => {
                    body.raise(class, message);
                    self.phase = Phase::Message;
                    Step::Taken
                }
                None if text.is_empty() => Step::Taken,
                None => Step::Stray,
            },
            _ if CHAINS.contains(&text) => {
                self.phase = Phase::Chained;
                Step::Taken
            }
            Phase::Chained if text.is_empty() => Step::Taken,
            Phase::Chained => match header(line) {
                Some(_) => {
                    self.phase = Phase::Inside;
                    Step::Taken
                }
                None => Step::Over,
            },
            _ if text.is_empty() => {
                self.phase = Phase::Between;
                Step::Taken
            }
            Phase::Message if header(line).is_none() && !begins_as_log(line) => Step::Message,
            _ => Step::Over,
        }
    }
}

/// If a box begins in the line: where.
pub(super) fn header(line: &str) -> Option<usize> {
    let title = line.find(TITLE)?;
    let after = line[title + TITLE.len()..].trim();
    let start = line[..title].find(['╭', '┌', '┏']).or_else(|| line[..title].find("+--"))?;
    let drawn = |text: &str| {
        text.chars().all(|c| matches!(c, '-' | '+' | ' ') || ('\u{2500}'..='\u{257f}').contains(&c))
    };
    (!after.is_empty() && drawn(after) && drawn(&line[start..title])).then_some(start)
}
