//! The logging configuration, checked by the component.

use model_foundry::{ConfigReader, Error, Format};
use pyo3::prelude::*;

use crate::errors::raised;
use crate::fork::{runtime, without_gil};

/// A violation: the field, and the message.
type Violation = (String, String);

/// A reader of configurations.
pub(crate) fn reader() -> model_foundry::Result<ConfigReader> {
    ConfigReader::new(&runtime()?)
}

/// The default logging configuration as JSON.
#[pyfunction]
pub(crate) fn default_logging_config(py: Python<'_>) -> PyResult<String> {
    without_gil(py, || reader()?.defaults(Format::Json)).map_err(raised)
}

/// Check a logging configuration in JSON. Returns it as JSON with all defaults filled in, or every violation.
#[pyfunction]
pub(crate) fn check_logging_config(
    py: Python<'_>,
    config: &str,
) -> PyResult<(Option<String>, Vec<Violation>)> {
    let read = without_gil(py, || {
        let mut reader = reader()?;
        let read = reader.read(config, Format::Json, "the logging configuration")?;
        reader.render(&read.logging, Format::Json)
    });
    match read {
        Ok(whole) => Ok((Some(whole), Vec::new())),
        Err(Error::Config { violations, .. }) => {
            let pairs = violations.into_iter().map(|found| (found.field, found.message));
            Ok((None, pairs.collect()))
        }
        Err(error) => Err(raised(error)),
    }
}
