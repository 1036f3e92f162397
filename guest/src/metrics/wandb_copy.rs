//! The copy of a run's metrics in a Weights & Biases log.

use std::ops::Range;

use crate::Result;
use crate::imports::{File, Imports};
use crate::json;
use crate::wandb::{Encoder, RunInfo};

/// How much of the Weights & Biases log waits to be appended: a block of it.
const BLOCK: usize = 32 << 10;

/// The Weights & Biases log of this run.
pub(super) struct WandbCopy {
    encoder: Encoder,
    pending: Vec<u8>,
    /// The values of the line that is being written: name's and value's place in `texts`.
    items: Vec<(Range<usize>, Range<usize>)>,
    texts: String,
    latest_step: u64,
}

impl WandbCopy {
    /// Begin the log.
    pub(super) fn begin(info: &RunInfo) -> Self {
        let mut pending = Vec::new();
        let encoder = Encoder::begin(info, &mut pending);
        Self { encoder, pending, items: Vec::new(), texts: String::new(), latest_step: 0 }
    }

    /// Note a value of the line that is being written.
    pub(super) fn note(&mut self, name: &str, written: &str, number: f64) {
        let start = self.texts.len();
        self.texts.push_str(name);
        let name = start..self.texts.len();
        // Weights & Biases reads the JSON extension that Python writes.
        self.texts.push_str(json::non_finite_name(number).unwrap_or(written));
        self.items.push((name.clone(), name.end..self.texts.len()));
    }

    /// Forget what was noted: the line is not kept.
    pub(super) fn forget(&mut self) {
        self.items.clear();
        self.texts = String::new();
    }

    /// Encode what was noted as one history record, at this step or at the latest.
    pub(super) fn history(&mut self, step: Option<u64>, time: u64) {
        let texts = &self.texts;
        let mut items =
            self.items.iter().map(|(name, value)| (&texts[name.clone()], &texts[value.clone()]));
        let step = step.unwrap_or(self.latest_step);
        self.encoder.history(&mut self.pending, step, time, &mut items);
        self.latest_step = step;
        self.items.clear();
        self.texts.clear();
    }

    /// Append what waits, once that is a block.
    pub(super) fn append<I: Imports>(&mut self, imports: &I) -> Result<()> {
        if self.pending.len() >= BLOCK {
            imports.append_bytes(File::Wandb, &std::mem::take(&mut self.pending))?;
        }
        Ok(())
    }

    /// Bring the log up to date; an exit code closes it.
    pub(super) fn checkpoint<I: Imports>(
        &mut self,
        imports: &I,
        exit_code: Option<i32>,
        time: u64,
    ) -> Result<()> {
        match exit_code {
            Some(exit_code) => self.encoder.finish(&mut self.pending, exit_code, time),
            // Readers take the latest values from summaries alone.
            None => self.encoder.summary(&mut self.pending),
        }
        imports.append_bytes(File::Wandb, &self.pending)?;
        self.pending.clear();
        Ok(())
    }
}
