//! The performance logger and the error tracker of a run.

use model_foundry::{ErrorEntry, rfc3339};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::run::OpenRun;
use crate::standalone::sample_to_python;
use crate::values::{fields, text};

/// Record a block's duration in performance.jsonl. Returns its log message; None if it could not be written.
#[pyfunction]
pub(crate) fn record_block(
    py: Python<'_>,
    run: &OpenRun,
    name: &Bound<'_, PyAny>,
    seconds: f64,
    failed: bool,
) -> PyResult<Option<String>> {
    let name = &*text(name)?;
    let finished = run.with(py, |run| run.performance().record_block(name, seconds, failed))?;
    Ok(finished.map(|finished| finished.message))
}

/// Record a memory sample in performance.jsonl. Returns the sample; None if it could not be written.
#[pyfunction]
pub(crate) fn log_memory<'py>(
    py: Python<'py>,
    run: &OpenRun,
    step: Option<u64>,
) -> PyResult<Option<(Bound<'py, PyDict>, Vec<String>)>> {
    let sample = run.with(py, |run| run.performance().log_memory_usage(step))?;
    sample.map(|sample| sample_to_python(py, sample)).transpose()
}

/// Clear the timings. performance.jsonl stays as it is.
#[pyfunction]
pub(crate) fn reset_timers(py: Python<'_>, run: &OpenRun) -> PyResult<()> {
    run.with(py, |run| run.performance().reset_timers())
}

/// Record an error in errors.jsonl.
#[pyfunction]
pub(crate) fn log_error(
    py: Python<'_>,
    run: &OpenRun,
    error_type: &Bound<'_, PyAny>,
    message: &Bound<'_, PyAny>,
    traceback: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (error_type, message, traceback) = (text(error_type)?, text(message)?, text(traceback)?);
    let context = fields(context)?;
    run.with(py, |run| run.errors().log(&error_type, &message, &traceback, &context))
}

/// The number of errors of each type, the most frequent type first.
#[pyfunction]
pub(crate) fn error_summary(py: Python<'_>, run: &OpenRun) -> PyResult<Vec<(String, u64)>> {
    let counts = run.with(py, |run| run.errors().summary())?;
    Ok(counts.into_iter().map(|count| (count.error_type, count.count)).collect())
}

/// The newest errors in memory, newest first, with their context as JSON.
#[pyfunction]
pub(crate) fn recent_errors<'py>(
    py: Python<'py>,
    run: &OpenRun,
    count: u32,
) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let recent = run.with(py, |run| run.errors().recent(count))?;
    let entry = |entry: ErrorEntry| {
        let dict = PyDict::new(py);
        dict.set_item("timestamp", entry.timestamp.map(rfc3339).unwrap_or_default())?;
        dict.set_item("error_type", entry.error_type)?;
        dict.set_item("error_message", entry.error_message)?;
        dict.set_item("traceback", entry.traceback)?;
        dict.set_item("context", entry.context)?;
        Ok(dict)
    };
    recent.into_iter().map(entry).collect()
}

/// Clear the counts. errors.jsonl stays as it is.
#[pyfunction]
pub(crate) fn reset_error_counts(py: Python<'_>, run: &OpenRun) -> PyResult<()> {
    run.with(py, |run| run.errors().reset_counts())
}
