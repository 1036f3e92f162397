//! A trap on demand, for the tests: wasmtime must report traps by return codes, whatever handles the process's
//! signals. Only in builds with the feature `trap-for-tests`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use wasmtime::{Instance, Module, Store};

use crate::errors::raised;
use crate::fork::{runtime, without_gil};

/// Call the export `answer` of a core module in the engine of the component. It must trap: the reason.
#[pyfunction]
pub(crate) fn _trap(py: Python<'_>, module: &[u8]) -> PyResult<String> {
    let runtime = without_gil(py, runtime).map_err(raised)?;
    let called = without_gil(py, || {
        let module = Module::new(runtime.engine(), module)?;
        let mut store = Store::new(runtime.engine(), ());
        // Half a second of the engine's clock, which stops a loop if that clock ticks.
        store.set_epoch_deadline(5);
        let instance = Instance::new(&mut store, &module, &[])?;
        instance.get_typed_func::<(), ()>(&mut store, "answer")?.call(&mut store, ())
    });
    match called {
        Err(trap) => Ok(format!("{:#}", trap.root_cause())),
        Ok(()) => Err(PyValueError::new_err("the module did not trap")),
    }
}
