//! Forks, and work without the interpreter's lock.
//!
//! os.fork copies only the calling thread, but every lock in its current state. A lock that another thread
//! holds would stay locked in the child. So each call that releases the interpreter's lock passes a gate, and a
//! fork closes the gate and waits until no thread is inside. A thread inside never takes the interpreter's
//! lock, so waiting for it while holding that lock is safe.
//!
//! A child does not touch what its parent opened, and opens it again when it first logs: each handle records
//! the generation of the process that made it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use model_foundry::{COMPONENT, Error, Runtime, RuntimeOptions};
use pyo3::prelude::*;

static GATE: RwLock<()> = RwLock::new(());
static GENERATION: AtomicU64 = AtomicU64::new(0);
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

thread_local! {
    /// Holds the gate closed between the hooks before and after a fork, which run on the forking thread.
    static CLOSED: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// Work without the interpreter's lock. The work must not take it.
pub(crate) fn without_gil<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    py.detach(|| {
        let _inside = GATE.read().unwrap_or_else(PoisonError::into_inner);
        work()
    })
}

/// Number of forks between the first process and this one.
#[inline]
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// The compiled component. It reports traps by return codes, because Python's faulthandler uses the signals. It
/// is compiled on this thread, because a forked process has no others.
pub(crate) fn runtime() -> Result<Runtime, Error> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.clone());
    }
    let mut options = RuntimeOptions::default();
    options.signals = false;
    options.parallel_compilation = false;
    let runtime = Runtime::new(COMPONENT, &options)?;
    // Readers use the shared runtime.
    runtime.clone().share();
    Ok(RUNTIME.get_or_init(|| runtime).clone())
}

/// Lock a mutex, also if it is poisoned: no panic leaves its contents in an invalid state.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called before os.fork: close the gate, and wait until no thread is inside.
#[pyfunction]
pub(crate) fn before_fork() {
    CLOSED.set(Some(GATE.write().unwrap_or_else(PoisonError::into_inner)));
}

/// Called after os.fork in the parent.
#[pyfunction]
pub(crate) fn after_fork_in_parent() {
    CLOSED.take();
}

/// Called after os.fork in the child.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    if let Some(runtime) = RUNTIME.get() {
        // If this fails, calls into the component have no time limit. Everything else works.
        let _ = runtime.restart_ticker();
    }
    model_foundry::listen_after_fork();
    CLOSED.take();
}
