//! A copy of a run's metrics as a Weights & Biases offline run.

use std::ops::Range;

use model_foundry_types::{Field, LoggingConfig, Options, ParsedRecord};

use super::jsonl::write_number;
use super::{CopySink, MetricSink, RowHead};
use crate::Result;
use crate::imports::{Imports, RunFile};
use crate::line_buffer::LineBuffer;
use crate::value::ValueRef;
use crate::wandb::Encoder;
use crate::{json, records};

/// The transaction log of the offline run.
const FILE: RunFile = RunFile("run.wandb");

/// How old the latest values in the log may be while rows are logged, in microseconds: 20 s. Each step is appended with
/// the next one.
const SUMMARY_AGE: u64 = 20_000_000;

/// The offline run.
pub(super) struct Wandb {
    encoder: Encoder,
    pending: Vec<u8>,
    /// The values of the row that is being written: where name and value are in `texts`.
    items: Vec<(Range<usize>, Range<usize>)>,
    texts: String,
    step: u64,
    time: u64,
    /// The epoch of a summary.
    epoch: Option<f64>,
    /// When the log last got the latest values: the time of a row.
    summarized: u64,
}

impl<I: Imports> CopySink<I> for Wandb {
    fn begin(config: &LoggingConfig, options: &Options) -> Option<Self> {
        // The log cannot be resumed in the middle of a block.
        let info = options.copies.as_ref().filter(|_| config.log_to_wandb && !options.reopened)?;
        let mut pending = Vec::new();
        let encoder = Encoder::begin(info, &mut pending);
        let (items, texts) = (Vec::new(), String::new());
        let summarized = info.started;
        let mut sink =
            Self { encoder, pending, items, texts, step: 0, time: 0, epoch: None, summarized };
        sink.catch_up::<I>(&info.unsent);
        Some(sink)
    }
}

impl<I: Imports> MetricSink<I> for Wandb {
    fn begin_row(&mut self, head: &RowHead) {
        self.time = head.time;
        // Weights & Biases knows only steps: a summary goes to the latest one, and names its epoch.
        match head.step {
            Some(step) => self.step = step,
            None => self.epoch = head.epoch,
        }
    }

    fn value(&mut self, name: &str, value: ValueRef<'_>, text: &str) {
        let start = self.texts.len();
        self.texts.push_str(name);
        let name = start..self.texts.len();
        // Weights & Biases reads NaN and the infinities as Python writes them in JSON.
        let non_finite = value.as_number().and_then(non_finite_name);
        self.texts.push_str(non_finite.unwrap_or(text));
        self.items.push((name.clone(), name.end..self.texts.len()));
    }

    fn end_row(&mut self) {
        if let Some(epoch) = self.epoch.take() {
            let mut text = LineBuffer::new();
            write_number(&mut text, epoch);
            MetricSink::<I>::value(self, "epoch", ValueRef::Float(epoch), &text);
        }
        let texts = &self.texts;
        let mut items =
            self.items.iter().map(|(name, value)| (&texts[name.clone()], &texts[value.clone()]));
        self.encoder.history(&mut self.pending, self.step, self.time, &mut items);
        self.items.clear();
        self.texts.clear();
    }

    fn discard_row(&mut self) {
        self.epoch = None;
        self.items.clear();
        self.texts = String::new();
    }

    fn append(&mut self, imports: &I) -> Result<()> {
        if self.time.saturating_sub(self.summarized) >= SUMMARY_AGE {
            return self.flush(imports, self.time);
        }
        self.write(imports)
    }

    fn flush(&mut self, imports: &I, time: u64) -> Result<()> {
        self.summarized = time;
        // Readers take the latest values only from summaries.
        self.encoder.summary(&mut self.pending);
        self.write(imports)
    }

    fn close(&mut self, imports: &I, exit_code: i32, time: u64) -> Result<()> {
        self.encoder.finish(&mut self.pending, exit_code, time);
        self.write(imports)
    }
}

impl Wandb {
    /// Write lines of metrics.jsonl that an earlier copy lacks. A line that cannot be read is left out.
    fn catch_up<I: Imports>(&mut self, lines: &str) {
        for given in lines.lines().filter_map(|line| records::parse(line).ok()) {
            let (step, epoch, fields) = match given.record {
                ParsedRecord::Step(record) => (Some(record.step), None, record.metrics),
                ParsedRecord::Summary(record) => (None, Some(record.epoch), record.summary),
                _ => continue,
            };
            self.time = given.timestamp.unwrap_or(self.time);
            self.step = step.unwrap_or(self.step);
            self.epoch = epoch;
            for Field { name, value } in &fields {
                let mut text = LineBuffer::new();
                json::write_value(&mut text, value.as_ref());
                MetricSink::<I>::value(self, name, value.as_ref(), &text);
            }
            MetricSink::<I>::end_row(self);
        }
    }

    /// Append what is pending to the log.
    fn write(&mut self, imports: &impl Imports) -> Result<()> {
        imports.append_bytes(FILE, &self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

/// A number that JSON cannot represent, in W&B's extension of JSON. None if the number is finite.
fn non_finite_name(number: f64) -> Option<&'static str> {
    match number {
        number if number.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}
