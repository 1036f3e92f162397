//! Samples of what frameworks print, and lines that must not become events.

use super::*;
use crate::value::Field;
use crate::value::Value;

mod frameworks;
mod hostile;
mod never;
mod recognizers;
mod tracebacks;
mod trainers;

/// All events of a text on standard output.
fn events(text: &str) -> Vec<Event> {
    events_after(None, text)
}

fn events_after(last_step: Option<u64>, text: &str) -> Vec<Event> {
    let mut parser = Parser::new(last_step);
    let mut events = parser.feed(Output::Stdout, text.as_bytes());
    events.extend(parser.finish());
    events
}

/// Each event as one line: `step 210 (10) epoch 2 loss=2.5 lr=0.1`, with `~` before an inferred step and the position
/// within the epoch in parentheses.
fn shown(events: &[Event]) -> Vec<String> {
    events.iter().map(show).collect()
}

fn show(event: &Event) -> String {
    match event {
        Event::Metrics(line) => {
            let mark = if line.step_inferred { "~" } else { "" };
            let mut text = format!("step {mark}{}", line.step);
            if let Some(step) = line.epoch_step {
                text += &format!(" ({step})");
            }
            if let Some(epoch) = line.epoch {
                text += &format!(" epoch {epoch}");
            }
            for Field { name, value } in &line.metrics {
                text += &match value {
                    Value::Integer(integer) => format!(" {name}={integer}"),
                    Value::Float(float) => format!(" {name}={float:?}"),
                    other => format!(" {name}={other:?}"),
                };
            }
            text
        }
        Event::Error(traceback) => format!("{}: {}", traceback.error_type, traceback.error_message),
    }
}

fn metrics(text: &str) -> Vec<String> {
    shown(&events(text))
}

fn nothing() -> Vec<String> {
    Vec::new()
}
