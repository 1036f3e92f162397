//! Short forms of what many tests log, and of how they configure a run.

use std::sync::Arc;

use model_foundry::{Console, LoggingConfig, MetricsLogger, Result, Run, fields};
use parking_lot::Mutex;

/// The epoch of steps outside any epoch.
pub const NO_EPOCH: Option<f64> = None;

/// The default configuration without the Weights & Biases log, whose bytes differ from run to run and whose
/// writes would be counted too.
pub fn without_wandb() -> LoggingConfig {
    LoggingConfig { log_to_wandb: false, ..LoggingConfig::default() }
}

/// Log a loss of 0.5 at a step.
pub fn log_step(metrics: &MetricsLogger, step: u64) -> Result<()> {
    metrics.log_step(step, NO_EPOCH, &fields! { loss: 0.5 })
}

/// Log a loss of 0.5 at each of these steps.
pub fn log_steps(run: &Run, steps: impl IntoIterator<Item = u64>) -> Result<()> {
    let metrics = run.metrics();
    steps.into_iter().try_for_each(|step| log_step(&metrics, step))
}

/// A console that records its lines. Clones share them.
#[derive(Clone, Default)]
pub struct ConsoleLines(Arc<Mutex<Vec<String>>>);

impl ConsoleLines {
    /// The console, for `RunBuilder::console`.
    pub fn console(&self) -> Console {
        let lines = self.0.clone();
        Console::Custom(Arc::new(move |line| lines.lock().push(line.to_owned())))
    }

    /// The lines printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}
