//! What a command prints, and what was found in it.

#[cfg(feature = "wasmtime")]
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::Field;

/// An output stream of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(enum))]
#[repr(u8)]
pub enum Output {
    /// Standard output.
    #[cfg_attr(feature = "wasmtime", component(name = "stdout"))]
    Stdout,
    /// Standard error.
    #[cfg_attr(feature = "wasmtime", component(name = "stderr"))]
    Stderr,
}

impl Output {
    /// Both streams.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];
}

crate::error::lift_enum!(Output);

/// Metrics found in a line.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct MetricsLine {
    /// The step, as printed or inferred.
    pub step: u64,
    /// True if the line names no step.
    #[cfg_attr(feature = "wasmtime", component(name = "step-inferred"))]
    pub step_inferred: bool,
    /// The position within the epoch, if that is what the trainer prints; `step` is then the step of the run.
    #[cfg_attr(feature = "wasmtime", component(name = "epoch-step"))]
    pub epoch_step: Option<u64>,
    /// The epoch, if the line names one, or a line before that announces it.
    pub epoch: Option<f64>,
    /// The step at which the training ends, if its output says so.
    #[cfg_attr(feature = "wasmtime", component(name = "final-step"))]
    pub final_step: Option<u64>,
    /// Names and values as printed, integers and floats. Spaces in names become `_`. A suffix such as `K` or `M`
    /// multiplies its value; other units do not.
    pub metrics: Vec<Field>,
}

/// A traceback found in lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Traceback {
    /// The class of the last exception of the chain, dotted as printed, or `panic` for Rust.
    #[cfg_attr(feature = "wasmtime", component(name = "error-type"))]
    pub error_type: String,
    /// Its message, which may have several lines.
    #[cfg_attr(feature = "wasmtime", component(name = "error-message"))]
    pub error_message: String,
    /// The lines themselves without colors, at most 256 KiB of them.
    pub text: String,
}

/// Something found in a command's output.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(variant))]
pub enum Event {
    /// Metrics.
    #[cfg_attr(feature = "wasmtime", component(name = "metrics"))]
    Metrics(MetricsLine),
    /// An error.
    #[cfg_attr(feature = "wasmtime", component(name = "error"))]
    Error(Traceback),
}

/// What was read in one line, and why.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct LineReading {
    /// The number of the line in its stream, from 1. A line that overwrites another counts too.
    pub line: u64,
    /// The beginning of the line, at most 400 bytes, without escape sequences.
    pub text: String,
    /// What read the line: `record`, `pairs`, `bar`, `table`, `block`, `counted row`, `traceback`, or `pattern`. Empty
    /// if nothing did.
    pub recognizer: String,
    /// Why the line was read so, or why nothing was read in it.
    pub reason: String,
    /// The events that the line completed.
    pub events: Vec<Event>,
}
