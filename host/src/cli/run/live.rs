//! The one line that tells how a training goes, kept at the bottom of the terminal.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model_foundry::{Field, MemorySample, Value};

use crate::cli::terminal::{bytes, count, is_live, number, one_line};

/// How often the line is drawn while nothing is printed.
pub(super) const REDRAW: Duration = Duration::from_millis(250);

/// Over how long steps per second are measured.
const WINDOW: Duration = Duration::from_secs(10);

/// The line, or none where there is no terminal.
pub(super) struct LiveLine {
    bar: Option<ProgressBar>,
    /// The command left its line unfinished: ours would be drawn into it.
    mid_line: bool,
    started: Instant,
    step: Option<u64>,
    /// Steps and when they were seen, the oldest first.
    seen: VecDeque<(Instant, u64)>,
    loss: Option<(String, f64)>,
    memory: Option<String>,
}

impl LiveLine {
    pub(super) fn new(wanted: bool) -> Self {
        let bar = (wanted && is_live()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner:.cyan} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Self {
            bar,
            mid_line: false,
            started: Instant::now(),
            step: None,
            seen: VecDeque::new(),
            loss: None,
            memory: None,
        }
    }

    /// The latest step.
    pub(super) fn step(&self) -> Option<u64> {
        self.step
    }

    /// Let the command's output by.
    pub(super) fn around<R>(&mut self, output: &[u8], print: impl FnOnce() -> R) -> R {
        let result = match &self.bar {
            Some(bar) if !self.mid_line => bar.suspend(print),
            _ => print(),
        };
        if let Some(last) = output.last() {
            self.mid_line = *last != b'\n';
            if self.mid_line
                && let Some(bar) = &self.bar
            {
                bar.set_message("");
            }
        }
        result
    }

    /// Metrics of a step.
    pub(super) fn note(&mut self, step: u64, metrics: &[Field]) {
        self.step = Some(step);
        if self.bar.is_some() {
            let now = Instant::now();
            self.seen.push_back((now, step));
            while self.seen.front().is_some_and(|(when, _)| now - *when > WINDOW) {
                self.seen.pop_front();
            }
        }
        let losses = metrics.iter().filter(|(name, _)| name.to_lowercase().contains("loss"));
        // The plainest name is the training loss: `loss` before `val_loss` and `train/loss_scale`.
        let loss = losses.min_by_key(|(name, _)| name.len());
        if let Some((name, value)) = loss {
            self.loss = match value {
                Value::Float(loss) => Some((name.clone(), *loss)),
                Value::Integer(loss) => Some((name.clone(), *loss as f64)),
                _ => self.loss.take(),
            };
        }
    }

    /// A memory sample.
    pub(super) fn note_memory(&mut self, sample: &MemorySample) {
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

    /// Draw the line as it stands now.
    pub(super) fn redraw(&mut self) {
        let Some(bar) = &self.bar else { return };
        if self.mid_line {
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
        parts.push(super::super::terminal::duration(self.started.elapsed()));
        bar.set_message(parts.join(" · "));
        bar.tick();
    }

    /// Take the line away.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
