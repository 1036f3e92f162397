//! The process's exit code, for runs that were still open when the interpreter ended.
//!
//! `sys.exit(3)`, `exit(3)` and `raise SystemExit(3)` leave no trace in the interpreter when it calls its atexit
//! functions. The C library knows the code, and passes it to functions that are registered with on_exit(3).

use std::ffi::{c_int, c_void};
use std::sync::{Mutex, Once};

use model_foundry::Run;

use crate::fork::lock;

/// The runs that were ended as completed, and the process that ended them.
static ENDED: Mutex<Vec<(u32, Run)>> = Mutex::new(Vec::new());

/// Correct how this run ended if the process's exit code is not 0.
pub(crate) fn correct_at_exit(run: Run) {
    static REGISTERED: Once = Once::new();
    lock(&ENDED).push((std::process::id(), run));
    REGISTERED.call_once(register);
}

extern "C" fn at_exit(code: c_int, _: *mut c_void) {
    if code == 0 {
        return;
    }
    let own = std::process::id();
    for (process, run) in std::mem::take(&mut *lock(&ENDED)) {
        if process == own {
            run.correct_exit_code(code);
        }
        // Nothing that a forked process inherited may be dropped.
        std::mem::forget(run);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "only the C library knows the exit code")]
fn register() {
    unsafe extern "C" {
        fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }
    // SAFETY: the function is of the type that on_exit(3) asks for, lives as long as the process, and does not use
    // its argument.
    unsafe { on_exit(at_exit, std::ptr::null_mut()) };
}

/// Other C libraries have no on_exit.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn register() {
    let _ = at_exit;
}
