//! Damaged lines of a run file.

#[cfg(feature = "wasmtime")]
use wasmtime::component::{ComponentType, Lift, Lower};

/// A damaged line.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Finding {
    /// The line's number in the file, from 1.
    pub line: u64,
    /// Where it starts, in bytes.
    pub offset: u64,
    /// Its length in bytes, including the newline unless a good record follows on the same line.
    pub length: u64,
    /// What is wrong, in one sentence.
    pub problem: String,
}

/// A position between two lines of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Position {
    /// How many bytes come before it.
    pub offset: u64,
    /// How many lines come before it.
    pub lines: u64,
}

/// What one part of a run file holds, or a stretch of the part.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct VerificationReport {
    /// How many lines are good.
    #[cfg_attr(feature = "wasmtime", component(name = "good-lines"))]
    pub good_lines: u64,
    /// The damaged lines, at most 10,000 of them.
    pub findings: Vec<Finding>,
    /// How many more damaged lines there are.
    pub more: u64,
    /// Where to continue the check; `None` at the end of the file.
    pub next: Option<Position>,
}
