//! Conversion of the host's errors to Python exceptions.

use model_foundry::Error;
use pyo3::PyErr;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};

/// ValueError for an invalid call, OSError for a path or the storage, RuntimeError for the component.
pub(crate) fn raised(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Invalid(_) | Error::Limit(_) | Error::TooLarge(_) | Error::Config { .. } => {
            PyValueError::new_err(text)
        }
        Error::Path { .. } | Error::Storage(_) => PyOSError::new_err(text),
        _ => PyRuntimeError::new_err(text),
    }
}
