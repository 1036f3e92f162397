//! Errors of a training run.

#[cfg(feature = "wasmtime")]
use wasmtime::component::{ComponentType, Lift, Lower};

/// One error.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct ErrorEntry {
    /// When it was logged, in microseconds since 1970-01-01T00:00:00Z; `None` if the line has no readable
    /// timestamp.
    #[serde(serialize_with = "crate::timestamp::serialize")]
    pub timestamp: Option<u64>,
    /// Its type: an exception's class, a Rust error's type.
    #[cfg_attr(feature = "wasmtime", component(name = "error-type"))]
    pub error_type: String,
    /// Its message.
    #[cfg_attr(feature = "wasmtime", component(name = "error-message"))]
    pub error_message: String,
    /// The whole call stack and chain of causes.
    pub traceback: String,
    /// The fields that were logged with it, as a JSON object.
    #[serde(serialize_with = "crate::value::serialize_json")]
    pub context: String,
    /// The rank of the process, if there are several.
    pub rank: Option<u32>,
}

/// How often a type of error occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct TypeCount {
    /// The type.
    #[cfg_attr(feature = "wasmtime", component(name = "error-type"))]
    pub error_type: String,
    /// How often it occurred.
    pub count: u64,
}

/// What errors.jsonl holds, over all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct ErrorReport {
    /// Counts by type, most frequent first.
    pub counts: Vec<TypeCount>,
    /// The earliest error of all ranks: the likely root cause.
    pub first: Option<ErrorEntry>,
    /// The newest errors, newest first.
    pub recent: Vec<ErrorEntry>,
    /// How many lines were skipped because they are damaged.
    #[cfg_attr(feature = "wasmtime", component(name = "damaged-lines"))]
    pub damaged_lines: u64,
}
