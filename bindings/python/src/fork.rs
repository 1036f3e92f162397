//! Forks, and who may be outside the interpreter's lock.
//!
//! os.fork copies one thread and every lock as it is. So that no lock of ours is held by a thread that the
//! child does not have, each call that gives the interpreter's lock up passes a gate, which a fork closes.
//! Whoever is inside needs the interpreter's lock for nothing: waiting there while holding it is safe.
//!
//! What the parent had open the child leaves alone, and opens for itself when it first logs: each handle
//! knows the generation of processes that it was made in.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use model_foundry::{COMPONENT, Error, Runtime, RuntimeOptions};
use pyo3::prelude::*;

static GATE: RwLock<()> = RwLock::new(());
static GENERATION: AtomicU64 = AtomicU64::new(0);
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

thread_local! {
    /// The closed gate, between the hooks before and after a fork: they run on the thread that forks.
    static CLOSED: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// Work without the interpreter's lock. The work must not ask for it.
pub(crate) fn outside<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    py.detach(|| {
        let _inside = GATE.read().unwrap_or_else(PoisonError::into_inner);
        work()
    })
}

/// How many forks lie between this process and the first.
#[inline]
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// The compiled component. Traps are told by return codes and not by signals, which belong to Python's
/// faulthandler; it is compiled on this thread, since a forked process has no others.
pub(crate) fn runtime() -> Result<Runtime, Error> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.clone());
    }
    let mut options = RuntimeOptions::default();
    options.signals = false;
    options.parallel_compilation = false;
    let runtime = Runtime::new(COMPONENT, &options)?;
    // Readers use the process' own.
    runtime.clone().share();
    Ok(RUNTIME.get_or_init(|| runtime).clone())
}

/// A lock for what no panic leaves half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called before os.fork: wait until nobody is inside.
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
        // Without a ticker the component runs without a bound in time, and is no worse otherwise.
        let _ = runtime.restart_ticker();
    }
    model_foundry::listen_after_fork();
    CLOSED.take();
}
