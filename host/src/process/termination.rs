//! Ends the attempts of this process when a signal ends it, and writes what is buffered.

use std::sync::{Arc, OnceLock, Weak};

use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::process::mutex::Mutex;

/// A run that a signal may end.
pub(crate) trait EndedBySignal: Send + Sync {
    /// Write the buffered records, and record how the attempt ended.
    fn end_by_signal(&self, signal: i32);
}

static RUNS: Mutex<Vec<Weak<dyn EndedBySignal>>> = Mutex::new(Vec::new());

/// The signals that this module handles.
static HANDLED: OnceLock<Vec<i32>> = OnceLock::new();

/// End a run on SIGTERM, SIGINT and SIGHUP. Then the signal ends the process, as it would have without this. A signal
/// that the process ignores, or has a handler for, is left alone: also the way in which a handler is installed matters,
/// as it decides whether a call that waits is interrupted.
pub(crate) fn end_on_termination(run: &Arc<dyn EndedBySignal>) {
    let mut runs = RUNS.lock();
    runs.retain(|known| known.strong_count() > 0);
    runs.push(Arc::downgrade(run));
    drop(runs);
    HANDLED.get_or_init(|| {
        let is_free = |signal: &i32| !is_in("SigIgn:", *signal) && !is_in("SigCgt:", *signal);
        let signals: Vec<i32> = [SIGTERM, SIGINT, SIGHUP].into_iter().filter(is_free).collect();
        listen(&signals);
        signals
    });
}

/// Handles signals in a forked process too, if its parent did. The child inherits the parent's handlers but not
/// the thread that does their work, so that without this no signal would end it.
pub fn listen_after_fork() {
    if let Some(signals) = HANDLED.get() {
        // Only the parent ends the parent's runs.
        RUNS.lock().drain(..).for_each(std::mem::forget);
        listen(signals);
    }
}

fn listen(signals: &[i32]) {
    let Ok(mut signals) = Signals::new(signals) else { return };
    let listen = move || {
        for signal in signals.forever() {
            let runs: Vec<_> = RUNS.lock().iter().filter_map(Weak::upgrade).collect();
            for run in runs {
                run.end_by_signal(signal);
            }
            let _ = emulate_default_handler(signal);
        }
    };
    // If the thread cannot be started, the signal's default action still ends the process after the handlers.
    let _ = std::thread::Builder::new().name("model-foundry-signals".into()).spawn(listen);
}

/// The signals that this process does not ignore. `nohup` and a shell's background jobs make a process ignore
/// some, and a handler would undo that, in this process and in those that it starts.
pub fn not_ignored(signals: &[i32]) -> Vec<i32> {
    signals.iter().copied().filter(|signal| !is_in("SigIgn:", *signal)).collect()
}

/// Whether a signal is in one of this process's sets in /proc/self/status; see proc(5). False if the file
/// cannot be read.
fn is_in(set: &str, signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(set));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

/// The name of a signal, such as `SIGTERM`.
pub fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal)
        .map_or_else(|| format!("signal {signal}"), str::to_owned)
}
