//! The host's errors as Python's.

use model_foundry::Error;
use pyo3::PyErr;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};

/// The caller's mistakes are ValueError, the disk's OSError, the component's RuntimeError.
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
