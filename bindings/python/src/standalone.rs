//! The component for loggers without a run folder.

use std::sync::{Arc, Mutex};

use model_foundry::{MemorySample, Standalone};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::raised;
use crate::fork::{generation, lock, runtime, without_gil};
use crate::values::{fields, text};

/// The one of this process, with the generation of the process that started it.
static STANDALONE: Mutex<Option<(u64, Arc<Standalone>)>> = Mutex::new(None);

/// Start it, or return the one that is running. The caller is [`without_gil`].
fn standalone() -> model_foundry::Result<Arc<Standalone>> {
    let mut known = lock(&STANDALONE);
    let now = generation();
    match known.take() {
        Some((of, standalone)) if of == now => {
            *known = Some((of, standalone.clone()));
            return Ok(standalone);
        }
        // Not dropped if it is the parent's: its locks are in the state of the moment of the fork.
        parents => std::mem::forget(parents),
    }
    let nvml = std::env::var_os("MODEL_FOUNDRY_NVML").map(Into::into);
    let standalone = Arc::new(Standalone::new(&runtime()?, nvml)?);
    *known = Some((now, standalone.clone()));
    Ok(standalone)
}

/// A record as one line of JSON: its message, and a context with the fields of both mappings. A field of `more`
/// overrides one of `context`.
#[pyfunction]
pub(crate) fn format(
    py: Python<'_>,
    message: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
    more: &Bound<'_, PyAny>,
) -> PyResult<String> {
    let message = text(message)?;
    let mut all = fields(context)?;
    all.extend(fields(more)?);
    without_gil(py, || standalone()?.format(&message, &all)).map_err(raised)
}

/// The short commit of the working folder's repository, and the device.
#[pyfunction]
pub(crate) fn surroundings(py: Python<'_>) -> PyResult<(String, String)> {
    let standalone = without_gil(py, standalone).map_err(raised)?;
    Ok((standalone.git_hash().to_owned(), standalone.device().to_owned()))
}

/// The log message for a block's duration.
#[pyfunction]
pub(crate) fn finished(
    py: Python<'_>,
    name: &Bound<'_, PyAny>,
    seconds: f64,
    failed: bool,
) -> PyResult<String> {
    let name = &*text(name)?;
    without_gil(py, || standalone()?.finished(name, seconds, failed)).map_err(raised)
}

/// The content of timing_report.json: the statistics of every name.
#[pyfunction]
pub(crate) fn timing_report(py: Python<'_>, timers: Vec<(String, Vec<f64>)>) -> PyResult<String> {
    without_gil(py, || standalone()?.timing_report(&timers)).map_err(raised)
}

/// Count, mean, minimum, maximum and standard deviation of samples; all 0 without samples.
#[pyfunction]
pub(crate) fn statistics(py: Python<'_>, samples: Vec<f64>) -> PyResult<(u64, f64, f64, f64, f64)> {
    let timing = without_gil(py, || standalone()?.timing(&samples)).map_err(raised)?;
    Ok((timing.count, timing.mean, timing.min, timing.max, timing.std))
}

/// The memory of this process, of the machine and of each GPU in bytes, and the log messages for it.
#[pyfunction]
pub(crate) fn memory<'py>(py: Python<'py>) -> PyResult<(Bound<'py, PyDict>, Vec<String>)> {
    let sample = without_gil(py, || standalone()?.sample_memory()).map_err(raised)?;
    sample_to_python(py, sample)
}

/// A memory sample's figures as a dict, and its log messages.
pub(crate) fn sample_to_python(
    py: Python<'_>,
    sample: MemorySample,
) -> PyResult<(Bound<'_, PyDict>, Vec<String>)> {
    let figures = PyDict::new(py);
    match sample.cpu {
        Ok(memory) => {
            figures.set_item("process_resident", memory.process_resident)?;
            figures.set_item("process_virtual", memory.process_virtual)?;
            figures.set_item("machine_total", memory.machine_total)?;
            figures.set_item("machine_used", memory.machine_used)?;
            figures.set_item("machine_available", memory.machine_available)?;
        }
        Err(reason) => figures.set_item("memory_unavailable", reason)?,
    }
    match sample.gpu {
        Ok(inventory) => {
            let mut gpus = Vec::new();
            for device in inventory.devices {
                let gpu = PyDict::new(py);
                gpu.set_item("index", device.index)?;
                gpu.set_item("uuid", device.uuid)?;
                gpu.set_item("name", device.name)?;
                gpu.set_item("total", device.total)?;
                gpu.set_item("used", device.used)?;
                gpu.set_item("free", device.free)?;
                gpu.set_item("reserved", device.reserved)?;
                gpu.set_item("process", device.process)?;
                gpus.push(gpu);
            }
            figures.set_item("gpus", gpus)?;
        }
        Err(reason) => figures.set_item("gpu_unavailable", reason)?,
    }
    Ok((figures, sample.messages))
}
