//! Ends the attempts of this process when a signal ends it, and writes what is buffered.

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::process::mutex::Mutex;

/// How long after a signal the end of a process is taken for its answer to the signal.
const ANSWER: Duration = Duration::from_secs(60);

/// A run that a signal may end.
pub(crate) trait EndedBySignal: Send + Sync {
    /// The process's own handler decides what the signal does: write the buffered records, and note the signal.
    fn note_signal(&self, signal: i32);
    /// The signal ends the process: write the buffered records, and record how the attempt ended.
    fn end_by_signal(&self, signal: i32);
}

/// The signal that a process was sent.
#[derive(Debug, Default)]
pub(crate) struct LatestSignal(Option<(i32, Instant)>);

impl LatestSignal {
    pub(crate) fn note(&mut self, signal: i32) {
        self.0 = Some((signal, Instant::now()));
    }

    /// The signal to which the process's end is the answer.
    pub(crate) fn answered_now(&self) -> Option<i32> {
        self.0.filter(|(_, when)| when.elapsed() < ANSWER).map(|(signal, _)| signal)
    }
}

static RUNS: Mutex<Vec<Weak<dyn EndedBySignal>>> = Mutex::new(Vec::new());

/// The signals that this module handles.
struct Handled {
    wanted: Vec<i32>,
    /// Those of them that already had a handler.
    taken: Vec<i32>,
}

static STARTED: OnceLock<Handled> = OnceLock::new();

/// Ends `run` on SIGTERM, SIGINT and SIGHUP. Then the signal ends the process as it would have without this, unless it
/// already had a handler, which decides.
pub(crate) fn flush_on_termination(run: &Arc<dyn EndedBySignal>) {
    let mut runs = RUNS.lock();
    runs.retain(|known| known.strong_count() > 0);
    runs.push(Arc::downgrade(run));
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
            let is_taken = taken.contains(&signal);
            for run in runs {
                if is_taken {
                    run.note_signal(signal);
                } else {
                    run.end_by_signal(signal);
                }
            }
            if !is_taken {
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

/// The name of a signal, such as `SIGTERM`.
pub fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal)
        .map_or_else(|| format!("signal {signal}"), str::to_owned)
}
