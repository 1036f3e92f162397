//! The live line: a training's progress, below its output.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use console::{Term, measure_text_width, truncate_str};
use model_foundry::{MemorySample, MetricsLine, Value};

use crate::names;
use crate::terminal::{bytes, count, is_live, number, one_line};

/// How often the line is drawn while nothing is printed.
pub(crate) const REDRAW: Duration = Duration::from_millis(250);

/// Over how long steps per second are measured.
const WINDOW: Duration = Duration::from_secs(10);

/// How much of an unfinished line is remembered, in bytes. A longer one is wider than any terminal.
const MAX_TAIL: usize = 4 << 10;

/// How much a new value counts in the average that says whether a metric rises or falls.
const WEIGHT: f64 = 0.1;

/// The digits of a value.
const DIGITS: i32 = 4;

/// The line; it is drawn only on a terminal.
pub(crate) struct LiveLine {
    terminal: Option<Term>,
    drawn: Drawn,
    /// What the command printed since its last newline or carriage return.
    tail: Vec<u8>,
    /// The command's last line is unfinished.
    mid_line: bool,
    started: Instant,
    step: Option<u64>,
    final_step: Option<u64>,
    /// Steps and when they were seen, the oldest first.
    seen: VecDeque<(Instant, u64)>,
    /// The names of the metrics to show; empty to choose one.
    watched: Vec<String>,
    shown: Vec<Shown>,
    memory: Option<String>,
}

/// Where the line is on the terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drawn {
    No,
    /// On the line of the cursor.
    Here,
    /// On the line below the cursor, which is in an unfinished line of the command.
    Below,
}

/// A metric on the line.
struct Shown {
    name: String,
    value: f64,
    average: f64,
    /// So many decimals as its smallest value needed: digits that come and go cannot be read.
    decimals: usize,
}

impl Shown {
    fn new(name: &str, value: f64) -> Self {
        let mut shown = Self { name: name.to_owned(), value, average: value, decimals: 0 };
        shown.update(value);
        shown
    }

    fn update(&mut self, value: f64) {
        self.value = value;
        if value.is_finite() {
            let before = if self.average.is_finite() { self.average } else { value };
            self.average = before + WEIGHT * (value - before);
            if value != 0.0 {
                let magnitude = value.abs().log10().floor() as i32;
                let decimals = usize::try_from(DIGITS - 1 - magnitude).unwrap_or(0);
                self.decimals = self.decimals.max(decimals.min(6));
            }
        }
    }

    fn text(&self) -> String {
        let small = self.value != 0.0 && self.value.abs() < 1e-4;
        let value = if !self.value.is_finite() || small || self.value.abs() >= 1e6 {
            number(self.value)
        } else {
            format!("{:.*}", self.decimals, self.value)
        };
        let change = self.value - self.average;
        let arrow = match () {
            () if change < -0.002 * self.average.abs() => " ▼",
            () if change > 0.002 * self.average.abs() => " ▲",
            () => "",
        };
        format!("{} {value}{arrow}", one_line(&self.name, 24))
    }
}

impl LiveLine {
    /// A line that shows these metrics, or a training's most telling one if there is none.
    pub(crate) fn new(wanted: bool, watched: Vec<String>) -> Self {
        Self {
            terminal: (wanted && is_live()).then(Term::stderr),
            drawn: Drawn::No,
            tail: Vec::new(),
            mid_line: false,
            started: Instant::now(),
            step: None,
            final_step: None,
            seen: VecDeque::new(),
            watched,
            shown: Vec::new(),
            memory: None,
        }
    }

    /// The latest step.
    pub(crate) fn step(&self) -> Option<u64> {
        self.step
    }

    /// Print the command's output. The live line is removed first.
    pub(crate) fn around<R>(&mut self, output: &[u8], print: impl FnOnce() -> R) -> R {
        self.clear();
        let result = print();
        if let Some(last) = output.last() {
            self.mid_line = *last != b'\n';
            if let Some(end) = output.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')) {
                self.tail.clear();
                self.tail.extend_from_slice(tail_of(&output[end + 1..]));
            } else if self.tail.len() < MAX_TAIL {
                self.tail.extend_from_slice(tail_of(output));
            }
        }
        result
    }

    /// Update the line with a step's metrics.
    pub(crate) fn note(&mut self, line: &MetricsLine) {
        self.step = Some(line.step);
        self.final_step = line.final_step.or(self.final_step);
        if self.terminal.is_none() {
            return;
        }
        let now = Instant::now();
        self.seen.push_back((now, line.step));
        while self.seen.front().is_some_and(|(when, _)| now - *when > WINDOW) {
            self.seen.pop_front();
        }
        for field in &line.metrics {
            let value = match field.value {
                Value::Float(value) => value,
                Value::Integer(value) => value as f64,
                _ => continue,
            };
            if let Some(shown) = self.shown.iter_mut().find(|shown| shown.name == field.name) {
                shown.update(value);
            } else if self.watched.iter().any(|name| names::matches(name, &field.name)) {
                self.shown.push(Shown::new(&field.name, value));
            } else if self.watched.is_empty() {
                // The shortest name is that of the training: `loss` rather than `val_loss` or `train/loss_scale`, which
                // may be printed on lines of their own.
                let telling = |name: &str| (interest(name), name.len());
                let better = |shown: &Shown| telling(&field.name) < telling(&shown.name);
                if self.shown.first().is_none_or(better) {
                    self.shown = vec![Shown::new(&field.name, value)];
                }
            }
        }
    }

    /// Update the line with a memory sample.
    pub(crate) fn note_memory(&mut self, sample: &MemorySample) {
        let mut memory = Vec::new();
        if let Ok(cpu) = &sample.cpu {
            memory.push(bytes(cpu.process_resident));
        }
        if let Ok(gpu) = &sample.gpu {
            let used: u64 = gpu.devices.iter().map(|device| device.used).sum();
            memory.push(format!("GPU {}", bytes(used)));
        }
        self.memory = (!memory.is_empty()).then(|| memory.join(", "));
    }

    /// The line's text.
    fn text(&self) -> String {
        let mut parts = Vec::new();
        match (self.step, self.final_step) {
            (Some(step), Some(end)) => {
                parts.push(format!("step {}/{}", count(step), count(end)));
                parts.push(format!("{:.0} %", 100.0 * step as f64 / end.max(1) as f64));
            }
            (Some(step), None) => parts.push(format!("step {}", count(step))),
            (None, _) => parts.push("waiting for the first metrics".into()),
        }
        parts.extend(self.shown.iter().map(Shown::text));
        if let (Some((first, from)), Some((last, to))) = (self.seen.front(), self.seen.back()) {
            let passed = (*last - *first).as_secs_f64();
            if passed > 0.0 && to > from {
                let rate = (to - from) as f64 / passed;
                let digits = if rate >= 10.0 { 0 } else { 2 - usize::from(rate >= 1.0) };
                parts.push(format!("{rate:.digits$} steps/s"));
                if let Some(left) = self.final_step.and_then(|end| end.checked_sub(*to)) {
                    let left = Duration::try_from_secs_f64(left as f64 / rate);
                    parts.extend(
                        left.ok().map(|left| format!("ETA {}", crate::terminal::duration(left))),
                    );
                }
            }
        }
        parts.extend(self.memory.clone());
        parts.push(crate::terminal::duration(self.started.elapsed()));
        parts.join(" · ")
    }

    /// Draw the line with its present content.
    pub(crate) fn redraw(&mut self) {
        let Some(terminal) = self.terminal.clone() else { return };
        // A line that wraps could not be removed.
        let width = usize::from(terminal.size().1).saturating_sub(1);
        let column = if self.mid_line { column(&self.tail, width) } else { Some(0) };
        self.clear();
        let Some(column) = column else { return };
        let text = self.text();
        let text = truncate_str(&text, width, "…");
        if measure_text_width(&text) == 0 {
            return;
        }
        let drawn = if self.mid_line {
            // A newline makes room below, also on the last line of the terminal.
            let back = format!("\n\u{1b}[1A\u{1b}[{}G", column + 1);
            terminal.write_str(&format!("{back}\u{1b}7\u{1b}[1B\r\u{1b}[2K{text}\u{1b}8"))
        } else {
            terminal.write_str(&text)
        };
        if drawn.is_ok() {
            self.drawn = if self.mid_line { Drawn::Below } else { Drawn::Here };
        }
    }

    /// Remove the line.
    pub(crate) fn clear(&mut self) {
        let Some(terminal) = &self.terminal else { return };
        // If the terminal is gone there is nothing to clear.
        let _ = match std::mem::replace(&mut self.drawn, Drawn::No) {
            Drawn::No => Ok(()),
            Drawn::Here => terminal.clear_line(),
            Drawn::Below => terminal.write_str("\u{1b}7\u{1b}[1B\r\u{1b}[2K\u{1b}8"),
        };
    }
}

/// How little a metric tells of a training, by its name.
fn interest(name: &str) -> usize {
    let name = name.to_lowercase();
    let telling: [&[&str]; 3] =
        [&["loss"], &["reward", "rew", "return"], &["acc", "score", "psnr", "map"]];
    telling
        .iter()
        .position(|words| words.iter().any(|word| name.contains(word)))
        .unwrap_or(telling.len())
}

/// As much of an unfinished line as is remembered.
fn tail_of(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(MAX_TAIL)]
}

/// The column of the cursor behind an unfinished line; none if that is not certain: the line moves the cursor, or is as
/// wide as the terminal.
fn column(tail: &[u8], width: usize) -> Option<usize> {
    let mut rest = std::str::from_utf8(tail).ok()?;
    let mut column = 0;
    while let Some(at) = rest.find(|c: char| c.is_control()) {
        column += measure_text_width(&rest[..at]);
        // A color: ESC [ digits m.
        let sequence = rest[at..].strip_prefix("\u{1b}[")?;
        let sequence = sequence.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = sequence.strip_prefix('m')?;
    }
    column += measure_text_width(rest);
    (column < width).then_some(column)
}

#[cfg(test)]
mod tests {
    use model_foundry::Field;

    use super::*;

    fn noted(lines: &[(&str, f64)]) -> LiveLine {
        let mut live = LiveLine::new(false, Vec::new());
        live.terminal = Some(Term::stderr());
        for (step, (name, value)) in lines.iter().enumerate() {
            live.note(&MetricsLine {
                step: step as u64,
                final_step: Some(10),
                metrics: vec![Field::new(*name, *value)],
                ..MetricsLine::default()
            });
        }
        live.terminal = None;
        live
    }

    #[test]
    fn the_line_shows_progress_and_the_most_telling_metric() {
        let text = noted(&[("lr", 0.1), ("val_loss", 3.0), ("loss", 2.0), ("loss", 1.5)]).text();
        assert!(text.starts_with("step 3/10 · 30 % · loss 1.500 ▼ · "), "{text}");
        let text = noted(&[("lr", 0.1), ("mean_reward", 3.0), ("mean_reward", 5.0)]).text();
        assert!(text.contains(" · mean_reward 5.000 ▲ · "), "{text}");
    }

    #[test]
    fn digits_do_not_come_and_go() {
        let mut shown = Shown::new("loss", 0.5);
        shown.update(2.0);
        assert_eq!(shown.text(), "loss 2.0000 ▲");
        shown.update(f64::NAN);
        assert_eq!(shown.text(), "loss NaN");
    }

    #[test]
    fn the_cursor_s_column_is_known_or_not() {
        assert_eq!(column("50%|█ |".as_bytes(), 80), Some(7));
        assert_eq!(column(b"\x1b[32mgreen\x1b[0m", 80), Some(5));
        assert_eq!(column(b"up\x1b[A", 80), None);
        assert_eq!(column(&[b'x'; 90], 80), None);
    }
}
