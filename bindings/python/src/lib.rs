//! The native module of the Python package `model_foundry`: the host library's loggers for Python.
//!
//! It is private to the package. The package's Python modules are the public interface.

mod config;
mod errors;
mod exit_status;
mod fork;
mod loggers;
mod metrics;
mod run;
mod standalone;
#[cfg(feature = "trap-for-tests")]
mod traps;
mod values;

/// The module `model_foundry._native`. It needs the interpreter's lock on free-threaded Python too: a step's
/// dict must not change while it is read.
#[pyo3::pymodule(name = "_native", gil_used = true)]
mod native {
    #[pymodule_export]
    use crate::config::{check_logging_config, default_logging_config};
    #[pymodule_export]
    use crate::fork::{after_fork_in_child, after_fork_in_parent, before_fork};
    #[pymodule_export]
    use crate::loggers::{
        error_summary, log_error, log_memory, recent_errors, record_block, reset_error_counts,
        reset_timers,
    };
    #[pymodule_export]
    use crate::metrics::Metrics;
    #[pymodule_export]
    use crate::run::OpenRun;
    #[pymodule_export]
    use crate::standalone::{finished, format, memory, statistics, surroundings, timing_report};
    #[cfg(feature = "trap-for-tests")]
    #[pymodule_export]
    use crate::traps::_trap;
    #[pymodule_export]
    use crate::values::to_json;
}
