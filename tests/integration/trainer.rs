//! A small real training with every logger: a classifier with one hidden layer, on generated data.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Result;
use model_foundry::{
    Columns, ErrorTracker, Level, LoggingConfig, MetricsLogger, PerformanceLogger, Run,
    StructuredLogger, fields,
};

/// Units in the hidden layer.
const HIDDEN: usize = 4;

/// The number of points, and of the points in a batch.
const POINTS: usize = 256;
const BATCH: usize = 32;

/// Trains a model and logs its progress.
pub(crate) struct Trainer {
    pub(crate) run: Run,
    pub(crate) config: LoggingConfig,
    pub(crate) logger: StructuredLogger,
    pub(crate) metrics: MetricsLogger,
    pub(crate) performance: PerformanceLogger,
    pub(crate) errors: ErrorTracker,
    basic: Columns,
    data: Vec<Point>,
    model: Model,
    learning_rate: f64,
}

/// A point in the plane, and whether it lies inside the unit circle.
#[derive(Clone, Copy)]
struct Point {
    x: [f64; 2],
    inside: f64,
}

/// tanh(x W1 + b1) W2 + b2, the logit of lying inside the circle.
#[derive(Clone, Default)]
struct Model {
    w1: [[f64; HIDDEN]; 2],
    b1: [f64; HIDDEN],
    w2: [f64; HIDDEN],
    b2: f64,
}

/// Why a training ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    Diverged { step: u64 },
    Checkpoint { path: PathBuf, source: io::Error },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diverged { step } => write!(f, "the loss is not finite at step {step}"),
            Self::Checkpoint { path, .. } => write!(f, "could not save {}", path.display()),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Diverged { .. } => None,
            Self::Checkpoint { source, .. } => Some(source),
        }
    }
}

impl Trainer {
    pub(crate) fn new(run: &Run) -> Result<Self> {
        let metrics = run.metrics();
        let mut chance = Chance(1);
        let mut model = Model::default();
        for unit in 0..HIDDEN {
            model.w1[0][unit] = chance.between(-1.0, 1.0);
            model.w1[1][unit] = chance.between(-1.0, 1.0);
            model.w2[unit] = chance.between(-1.0, 1.0);
        }
        Ok(Self {
            config: run.config().clone(),
            logger: run.logger("trainer"),
            basic: metrics.columns(&["loss", "accuracy"])?,
            metrics,
            performance: run.performance(),
            errors: run.errors(),
            data: Vec::new(),
            model,
            learning_rate: 0.5,
            run: run.clone(),
        })
    }

    /// Change the learning rate. With an infinite one the training diverges.
    pub(crate) fn with_learning_rate(mut self, learning_rate: f64) -> Self {
        self.learning_rate = learning_rate;
        self
    }

    /// Generate the data.
    pub(crate) fn process_data(&mut self) -> Result<()> {
        self.logger.info("processing data", &fields! { source: "generated", points: POINTS })?;
        let timed = self.performance.time_block("process_data");
        let mut chance = Chance(2);
        while self.data.len() < POINTS {
            let x = [chance.between(-1.5, 1.5), chance.between(-1.5, 1.5)];
            let radius = x[0].hypot(x[1]);
            // Points on the line between the two classes are hard to classify.
            if (0.95..1.05).contains(&radius) {
                self.logger.debug("a point was left out", &fields! { radius })?;
                continue;
            }
            self.data.push(Point { x, inside: f64::from(u8::from(radius < 1.0)) });
        }
        let seconds = timed.end();
        let inside = self.data.iter().filter(|point| point.inside == 1.0).count();
        self.logger
            .info("processed data", &fields! { points: self.data.len(), inside, seconds })?;
        Ok(())
    }

    /// Train from the step after `done` to step `last`.
    pub(crate) fn train(&mut self, done: u64, last: u64) -> Result<()> {
        self.logger.info("training began", &fields! { from: done, to: last })?;
        for step in done + 1..=last {
            self.step(step)?;
        }
        self.logger.info("training ended", &fields! { step: last })?;
        Ok(())
    }

    /// One step: forward, backward, update.
    fn step(&mut self, step: u64) -> Result<()> {
        let profile = self.config.profile_performance;
        let timed = profile.then(|| self.performance.time_block("step"));
        let batches = POINTS / BATCH;
        let batch = (step as usize - 1) % batches * BATCH;
        let (loss, accuracy, gradient) = self.model.learn(&self.data[batch..][..BATCH]);
        self.model.add_scaled(-self.learning_rate, &gradient);
        drop(timed);

        let epoch = step as f64 / batches as f64;
        if step.is_multiple_of(self.config.log_metrics_every_n_steps.into()) {
            self.basic.log(step, epoch, &[loss, accuracy])?;
        }
        if step.is_multiple_of(self.config.log_detailed_metrics_every_n_steps.into()) {
            let grad_norm = gradient.norm();
            let learning_rate = self.learning_rate;
            self.metrics.log_step(step, epoch, &fields! { grad_norm, learning_rate })?;
        }
        if step.is_multiple_of(self.config.log_memory_every_n_steps.into()) {
            self.performance.log_memory_usage(Some(step))?;
        }
        if step.is_multiple_of(batches as u64) {
            self.metrics.log_epoch_summary(epoch, &fields! { loss, accuracy })?;
            self.logger.info("epoch ended", &fields! { step, epoch, loss, accuracy })?;
        }
        if !loss.is_finite() {
            return Err(self.failed(&Failure::Diverged { step }, step));
        }
        Ok(())
    }

    /// Save the weights.
    pub(crate) fn checkpoint(&self, step: u64) -> Result<PathBuf> {
        let folder = self.run.folder().join("checkpoints");
        let path = folder.join(format!("step-{step}.bin"));
        let shown = path.display().to_string();
        self.logger.info("saving checkpoint", &fields! { step, path: shown.clone() })?;
        let timed = self.performance.time_block("checkpoint").log_to(&self.logger, Level::Debug);
        let bytes = self.model.bytes();
        let saved = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &bytes));
        if let Err(source) = saved {
            timed.fail();
            return Err(self.failed(&Failure::Checkpoint { path, source }, step));
        }
        let seconds = timed.end();
        let size_mb = bytes.len() as f64 / 1e6;
        self.logger.info("saved checkpoint", &fields! { step, path: shown, size_mb, seconds })?;
        Ok(path)
    }

    fn failed(&self, failure: &Failure, step: u64) -> anyhow::Error {
        // A failure to log the failure must not hide it.
        let _ = self.errors.log_error(failure, &fields! { step });
        let _ = self.logger.exception("training failed", failure, &fields! { step });
        anyhow::anyhow!("{failure}")
    }
}

impl Model {
    /// The mean loss, the accuracy, and the gradient of the loss.
    fn learn(&self, batch: &[Point]) -> (f64, f64, Self) {
        let mut gradient = Self::default();
        let (mut loss, mut right) = (0.0, 0.0);
        let share = 1.0 / batch.len() as f64;
        for point in batch {
            let hidden: [f64; HIDDEN] = std::array::from_fn(|unit| {
                let sum = point.x[0] * self.w1[0][unit] + point.x[1] * self.w1[1][unit];
                (sum + self.b1[unit]).tanh()
            });
            let logit = self.b2 + hidden.iter().zip(&self.w2).map(|(h, w)| h * w).sum::<f64>();
            let probability = 1.0 / (1.0 + (-logit).exp());
            // ln(1 + exp(-z)) without overflow, where z is the logit of the right class.
            let z = if point.inside == 1.0 { logit } else { -logit };
            loss += share * ((-z).max(0.0) + (-z.abs()).exp().ln_1p());
            right += share * f64::from(u8::from((probability > 0.5) == (point.inside == 1.0)));
            let d_logit = share * (probability - point.inside);
            gradient.b2 += d_logit;
            for (unit, h) in hidden.into_iter().enumerate() {
                gradient.w2[unit] += d_logit * h;
                let d_hidden = d_logit * self.w2[unit] * (1.0 - h * h);
                gradient.b1[unit] += d_hidden;
                gradient.w1[0][unit] += d_hidden * point.x[0];
                gradient.w1[1][unit] += d_hidden * point.x[1];
            }
        }
        (loss, right, gradient)
    }

    fn weights(&self) -> impl Iterator<Item = f64> {
        let all = [self.w1[0], self.w1[1], self.b1, self.w2];
        all.into_iter().flatten().chain([self.b2])
    }

    fn add_scaled(&mut self, scale: f64, gradient: &Self) {
        for unit in 0..HIDDEN {
            self.w1[0][unit] += scale * gradient.w1[0][unit];
            self.w1[1][unit] += scale * gradient.w1[1][unit];
            self.b1[unit] += scale * gradient.b1[unit];
            self.w2[unit] += scale * gradient.w2[unit];
        }
        self.b2 += scale * gradient.b2;
    }

    fn norm(&self) -> f64 {
        self.weights().map(|weight| weight * weight).sum::<f64>().sqrt()
    }

    fn bytes(&self) -> Vec<u8> {
        self.weights().flat_map(f64::to_le_bytes).collect()
    }
}

/// A linear congruential generator with Knuth's constants for MMIX: the same numbers in every run.
struct Chance(u64);

impl Chance {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (high - low) * (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}
