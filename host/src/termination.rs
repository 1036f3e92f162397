//! What is buffered is written when the process is told to end.

use std::sync::{OnceLock, Weak};

use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::sync::Mutex;

/// What is done when the process is told to end.
pub(crate) trait Flush: Send + Sync {
    /// Write what is buffered.
    fn flush(&self);
}

static RUNS: Mutex<Vec<Weak<dyn Flush>>> = Mutex::new(Vec::new());

/// The signals that are listened for, and those of them that somebody else had a handler for.
struct Handled {
    wanted: Vec<i32>,
    taken: Vec<i32>,
}

static STARTED: OnceLock<Handled> = OnceLock::new();

/// Flush this when SIGTERM, SIGINT or SIGHUP comes. A signal that nobody else had a handler for then ends
/// the process as it would have; one that somebody had is left to them.
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

/// In a process that was forked from one that may listen for signals: listen here too. Its handlers were
/// inherited, the thread that does their work was not: nothing would end the process.
pub fn listen_after_fork() {
    if let Some(Handled { wanted, taken }) = STARTED.get() {
        // The parent's runs are the parent's to flush.
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
    // Without the thread the signal still ends the process by its default after the handlers.
    let _ = std::thread::Builder::new().name("model-foundry-signals".into()).spawn(listen);
}

/// Those of the signals that this process does not ignore: `nohup` and shells' background jobs have it
/// ignore some, and a handler would undo that, here and in what it starts.
pub fn not_ignored(signals: &[i32]) -> Vec<i32> {
    signals.iter().copied().filter(|signal| !is_in("SigIgn:", *signal)).collect()
}

/// Whether a signal is in one of the sets that proc(5) tells of this process. Where they cannot be seen it
/// is in none.
fn is_in(set: &str, signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(set));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}
