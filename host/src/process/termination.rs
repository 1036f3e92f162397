//! Writes buffered records when a signal terminates the process.

use std::sync::{OnceLock, Weak};

use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::process::mutex::Mutex;

/// A run with a buffer.
pub(crate) trait Flush: Send + Sync {
    /// Writes the buffered records.
    fn flush(&self);
}

static RUNS: Mutex<Vec<Weak<dyn Flush>>> = Mutex::new(Vec::new());

/// The signals that this module handles.
struct Handled {
    wanted: Vec<i32>,
    /// Those of them that already had a handler.
    taken: Vec<i32>,
}

static STARTED: OnceLock<Handled> = OnceLock::new();

/// Flushes `run` on SIGTERM, SIGINT and SIGHUP. Then the signal ends the process as it would have without this,
/// unless it already had a handler, which decides.
pub(crate) fn flush_on_termination(run: Weak<dyn Flush>) {
    let mut runs = RUNS.lock();
    runs.retain(|known| known.strong_count() > 0);
    runs.push(run);
    drop(runs);
    STARTED.get_or_init(|| {
        let wanted = not_ignored(&[SIGTERM, SIGINT, SIGHUP]);
        let taken: Vec<i32> =
            wanted.iter().copied().filter(|signal| is_in("SigCgt:", *signal)).collect();
        listen(&wanted, taken.clone());
        Handled { wanted, taken }
    });
}

/// Handles signals in a forked process too, if its parent did. The child inherits the parent's handlers but not
/// the thread that does their work, so that without this no signal would end it.
pub fn listen_after_fork() {
    if let Some(Handled { wanted, taken }) = STARTED.get() {
        // Only the parent flushes the parent's runs.
        RUNS.lock().drain(..).for_each(std::mem::forget);
        listen(wanted, taken.clone());
    }
}

fn listen(wanted: &[i32], taken: Vec<i32>) {
    let Ok(mut signals) = Signals::new(wanted) else { return };
    let listen = move || {
        for signal in signals.forever() {
            let runs: Vec<_> = RUNS.lock().iter().filter_map(Weak::upgrade).collect();
            for run in runs {
                run.flush();
            }
            if !taken.contains(&signal) {
                let _ = emulate_default_handler(signal);
            }
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
