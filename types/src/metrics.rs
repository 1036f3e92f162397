//! Metrics: rows to log, their statistics, and rows and queries to read them back.

#[cfg(feature = "wasmtime")]
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::Value;

/// How the numbers of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(enum))]
#[repr(u8)]
pub enum Kind {
    /// With a decimal point: 1.0 is written `1.0`.
    #[cfg_attr(feature = "wasmtime", component(name = "float"))]
    Float,
    /// Without one: 1.0 is written `1`. Integers up to 2^53 are exact.
    #[cfg_attr(feature = "wasmtime", component(name = "integer"))]
    Integer,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Float, Self::Integer];
}

crate::error::lift_enum!(Kind);

/// A column of rows: a metric that is named once and then logged by position.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Column {
    /// The metric.
    pub name: String,
    /// How its numbers are written.
    pub kind: Kind,
}

impl Column {
    /// The most values that a row can have to be logged by position from named metrics: wider steps are logged
    /// by name.
    pub const WIDEST: usize = 32;

    /// The largest integer up to which a float represents every integer: 2^53.
    pub const EXACT: i64 = 1 << 53;
}

/// Streaming statistics of one metric. Mean, minimum, maximum, deviation and percentiles are of the finite
/// samples; they are 0 if there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Statistics {
    /// How many samples were finite.
    pub count: u64,
    /// The mean, by Welford's method.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The sample standard deviation (n − 1); 0 for one sample.
    pub std: f64,
    /// The latest.
    pub last: f64,
    /// The median, by the nearest rank. Exact up to 1,000 samples, or up to 125 if there are more than 1,024
    /// metrics; beyond that with a relative error of at most 0.8 %. NaN if the samples lie in more powers of two
    /// than there is memory for: 524,288 for all metrics together, in equal shares.
    pub p50: f64,
    /// The 95th percentile, likewise.
    pub p95: f64,
    /// The 99th percentile, likewise.
    pub p99: f64,
    /// Whether the percentiles are exact.
    #[cfg_attr(feature = "wasmtime", component(name = "percentiles-exact"))]
    pub percentiles_exact: bool,
    /// How many samples were NaN.
    pub nan: u64,
    /// How many were +∞.
    #[cfg_attr(feature = "wasmtime", component(name = "positive-infinity"))]
    pub positive_infinity: u64,
    /// How many were −∞.
    #[cfg_attr(feature = "wasmtime", component(name = "negative-infinity"))]
    pub negative_infinity: u64,
    /// The step of the first sample that was not finite.
    #[cfg_attr(feature = "wasmtime", component(name = "first-non-finite-step"))]
    pub first_non_finite_step: Option<u64>,
}

/// A metric's name and its statistics.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct NamedStatistics {
    /// The metric.
    pub name: String,
    /// Its statistics.
    pub statistics: Statistics,
    /// Whether they are of the metric's values in epoch summaries, and not in steps.
    #[cfg_attr(feature = "wasmtime", component(name = "of-summaries"))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub of_summaries: bool,
}

/// How a metrics logger is opened.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Options {
    /// The attempt at the experiment, from 1. Lines of the second and later attempts carry it.
    pub attempt: u32,
    /// The rank of the process, if there are several. Lines carry it.
    pub rank: Option<u32>,
    /// The rank to whose shard of metrics.jsonl the host appends; `None` for the shared file.
    pub shard: Option<u32>,
    /// The logging configuration, as JSON.
    pub config: String,
    /// What copies of the metrics for other tools need to know of the run; `None` if another process writes the
    /// copies.
    pub copies: Option<RunInfo>,
    /// The logger is opened again after a failure. A copy that cannot be resumed in its middle ends then.
    pub reopened: bool,
}

/// The run, as copies of its metrics for other tools describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct RunInfo {
    /// The copy's identifier: 8 lower-case letters and digits.
    pub id: String,
    /// The project that the copy belongs to.
    pub project: String,
    /// The name that people see.
    pub name: String,
    /// The experiment's configuration, as the text of a JSON object.
    pub config: String,
    /// The machine's name.
    pub host: String,
    /// When the run started, in microseconds since 1970-01-01T00:00:00Z.
    pub started: u64,
    /// Lines of metrics.jsonl that the copy of an earlier attempt lacks, because that attempt was killed.
    pub unsent: String,
}

/// Which entries of metrics.jsonl a reader returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Query {
    /// The first step; from the start without one.
    #[cfg_attr(feature = "wasmtime", component(name = "first-step"))]
    pub first_step: Option<u64>,
    /// The last step, included; to the end without one.
    #[cfg_attr(feature = "wasmtime", component(name = "last-step"))]
    pub last_step: Option<u64>,
    /// Epoch summaries too, unless a first or a last step is given: summaries have no step.
    pub summaries: bool,
    /// What a later attempt logged again too: the same metric at the same step, or a summary of the same epoch.
    #[cfg_attr(feature = "wasmtime", component(name = "all-attempts"))]
    pub all_attempts: bool,
    /// Only what this attempt logged, and all of it.
    pub attempt: Option<u32>,
}

/// What a reader of metrics prepares for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(enum))]
#[repr(u8)]
pub enum Purpose {
    /// Lines and rows, and the highest step.
    #[cfg_attr(feature = "wasmtime", component(name = "lines"))]
    Lines,
    /// Statistics.
    #[cfg_attr(feature = "wasmtime", component(name = "statistics"))]
    Statistics,
    /// An overview.
    #[cfg_attr(feature = "wasmtime", component(name = "overview"))]
    Overview,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Lines, Self::Statistics, Self::Overview];
}

crate::error::lift_enum!(Purpose);

/// An entry of metrics.jsonl: the metrics of a step, or the summary of an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Row {
    /// When it was logged, in microseconds since 1970-01-01T00:00:00Z; `None` if the line has no readable
    /// timestamp.
    pub timestamp: Option<u64>,
    /// The step; `None` for a summary.
    pub step: Option<u64>,
    /// The epoch, if the line has one.
    pub epoch: Option<f64>,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The rank of the process that logged it, if there were several.
    pub rank: Option<u32>,
    /// True if the trainer did not print the step.
    #[cfg_attr(feature = "wasmtime", component(name = "step-inferred"))]
    pub step_inferred: bool,
    /// The position within the epoch, if that is what the trainer printed.
    #[cfg_attr(feature = "wasmtime", component(name = "epoch-step"))]
    pub epoch_step: Option<u64>,
    /// The metrics, in the order of the line. NaN and the infinities are themselves again.
    pub values: Vec<crate::Field>,
}

/// Where a step comes from that no caller passed: the output of a trainer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct StepOrigin {
    /// The trainer did not print the step.
    pub inferred: bool,
    /// The position within the epoch, if that is what the trainer printed.
    #[cfg_attr(feature = "wasmtime", component(name = "epoch-step"))]
    pub epoch_step: Option<u64>,
}

impl Row {
    /// The value of a metric.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().rfind(|field| field.name == name).map(|field| &field.value)
    }
}

/// Lines that a reader skipped because they are damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Damage {
    /// How many.
    pub lines: u64,
    /// The first one.
    pub first: Option<DamagedLine>,
}

/// A damaged line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct DamagedLine {
    /// The file's name in the run folder.
    pub file: String,
    /// The line's number there, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// A metric reduced to few points, for a small chart.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Series {
    /// The metric.
    pub name: String,
    /// Means of the finite samples in equal stretches, oldest first. A stretch without any is left out.
    pub points: Vec<f64>,
    /// Whether they are of the metric's values in epoch summaries, and not in steps.
    #[cfg_attr(feature = "wasmtime", component(name = "of-summaries"))]
    pub of_summaries: bool,
}

/// What a reader of metrics omitted because a later attempt logged it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Omitted {
    /// Rows of which everything was logged again.
    pub rows: u64,
    /// Values that were logged again, of rows that have other values too.
    pub values: u64,
}

impl Omitted {
    /// Count a row of which `omitted` values were omitted, and `shown` were not.
    pub fn add(&mut self, shown: u64, omitted: u64) {
        if shown == 0 {
            self.rows += 1;
        } else {
            self.values += omitted;
        }
    }
}
