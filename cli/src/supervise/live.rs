//! The live line: a training's progress, at the bottom of the terminal.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use console::{Term, measure_text_width, truncate_str};
use model_foundry::{Field, MemorySample, Value};

use crate::terminal::{bytes, count, is_live, number, one_line};

/// How often the line is drawn while nothing is printed.
pub(crate) const REDRAW: Duration = Duration::from_millis(250);

/// Over how long steps per second are measured.
const WINDOW: Duration = Duration::from_secs(10);

/// The line; it is drawn only on a terminal.
pub(crate) struct LiveLine {
    terminal: Option<Term>,
    /// The line is on the terminal, and the cursor is at its end.
    drawn: bool,
    /// The command's last line is unfinished: the live line would be drawn into it.
    mid_line: bool,
    started: Instant,
    step: Option<u64>,
    /// Steps and when they were seen, the oldest first.
    seen: VecDeque<(Instant, u64)>,
    loss: Option<(String, f64)>,
    memory: Option<String>,
}

impl LiveLine {
    pub(crate) fn new(wanted: bool) -> Self {
        Self {
            terminal: (wanted && is_live()).then(Term::stderr),
            drawn: false,
            mid_line: false,
            started: Instant::now(),
            step: None,
            seen: VecDeque::new(),
            loss: None,
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
        }
        result
    }

    /// Update the line with a step's metrics.
    pub(crate) fn note(&mut self, step: u64, metrics: &[Field]) {
        self.step = Some(step);
        if self.terminal.is_some() {
            let now = Instant::now();
            self.seen.push_back((now, step));
            while self.seen.front().is_some_and(|(when, _)| now - *when > WINDOW) {
                self.seen.pop_front();
            }
        }
        let losses = metrics.iter().filter(|field| field.name.to_lowercase().contains("loss"));
        // The shortest name is that of the training loss: `loss` rather than `val_loss` or `train/loss_scale`, which
        // may also be printed on lines of their own.
        let loss = losses.min_by_key(|field| field.name.len());
        let shorter =
            |name: &str| self.loss.as_ref().is_none_or(|(known, _)| name.len() <= known.len());
        if let Some(Field { name, value }) = loss.filter(|field| shorter(&field.name)) {
            self.loss = match value {
                Value::Float(loss) => Some((name.clone(), *loss)),
                Value::Integer(loss) => Some((name.clone(), *loss as f64)),
                _ => self.loss.take(),
            };
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

    /// Draw the line with its present content.
    pub(crate) fn redraw(&mut self) {
        if self.mid_line || self.terminal.is_none() {
            return;
        }
        let mut parts = Vec::new();
        match self.step {
            Some(step) => parts.push(format!("step {}", count(step))),
            None => parts.push("waiting for the first metrics".into()),
        }
        if let Some((name, loss)) = &self.loss {
            parts.push(format!("{} {}", one_line(name, 24), number(*loss)));
        }
        if let (Some((first, from)), Some((last, to))) = (self.seen.front(), self.seen.back()) {
            let passed = (*last - *first).as_secs_f64();
            if passed > 0.0 && to > from {
                parts.push(format!("{} steps/s", number((to - from) as f64 / passed)));
            }
        }
        parts.extend(self.memory.clone());
        parts.push(crate::terminal::duration(self.started.elapsed()));
        let line = parts.join(" · ");
        self.clear();
        if let Some(terminal) = &self.terminal {
            // A line that wraps could not be removed.
            let width = usize::from(terminal.size().1).saturating_sub(1);
            let line = truncate_str(&line, width, "…");
            self.drawn = measure_text_width(&line) > 0 && terminal.write_str(&line).is_ok();
        }
    }

    /// Remove the line.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn)
            && let Some(terminal) = &self.terminal
        {
            // If the terminal is gone there is nothing to clear.
            let _ = terminal.clear_line();
        }
    }
}
