//! Records given as JSON text.

#[cfg(feature = "wasmtime")]
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::{Field, Level};

/// The metrics of a step.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct StepRecord {
    /// The step.
    pub step: u64,
    /// The epoch, if any.
    pub epoch: Option<f64>,
    /// The metrics.
    pub metrics: Vec<Field>,
}

/// The summary of an epoch.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct SummaryRecord {
    /// The epoch.
    pub epoch: f64,
    /// The summary.
    pub summary: Vec<Field>,
}

/// A record of the structured log.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct MessageRecord {
    /// Its level.
    pub level: Level,
    /// Its message.
    pub message: String,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// An error.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct ErrorRecord {
    /// Its type.
    #[cfg_attr(feature = "wasmtime", component(name = "error-type"))]
    pub error_type: String,
    /// Its message.
    #[cfg_attr(feature = "wasmtime", component(name = "error-message"))]
    pub error_message: String,
    /// Its traceback.
    pub traceback: String,
    /// Its context.
    pub context: Vec<Field>,
}

/// A record with what a line of a run's own files says of its origin. A run can be copied without loss.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct GivenRecord {
    /// The record.
    pub record: ParsedRecord,
    /// When it was logged, in microseconds since 1970-01-01T00:00:00Z.
    pub timestamp: Option<u64>,
    /// The attempt that logged it, from 1.
    pub attempt: Option<u32>,
    /// The rank of the process that logged it, if there were several.
    pub rank: Option<u32>,
    /// The trainer did not print the step.
    #[cfg_attr(feature = "wasmtime", component(name = "step-inferred"))]
    pub step_inferred: bool,
    /// The position within the epoch that the trainer printed.
    #[cfg_attr(feature = "wasmtime", component(name = "epoch-step"))]
    pub epoch_step: Option<u64>,
    /// The logger of a message.
    pub logger: Option<String>,
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(variant))]
pub enum ParsedRecord {
    /// `{"step":1,"epoch":0,"metrics":{"loss":0.5}}`
    #[cfg_attr(feature = "wasmtime", component(name = "step"))]
    Step(StepRecord),
    /// `{"epoch":0,"summary":{"val_loss":0.4}}`
    #[cfg_attr(feature = "wasmtime", component(name = "summary"))]
    Summary(SummaryRecord),
    /// `{"level":"INFO","message":"saved","fields":{"step":1}}`
    #[cfg_attr(feature = "wasmtime", component(name = "message"))]
    Message(MessageRecord),
    /// `{"error_type":"ValueError","error_message":"…","traceback":"…","context":{}}`
    #[cfg_attr(feature = "wasmtime", component(name = "error"))]
    Error(ErrorRecord),
}
