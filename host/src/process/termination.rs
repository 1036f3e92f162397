//! Ends the attempts of this process when a signal ends it, and writes what is buffered.

use std::io::{self, Read as _};
use std::os::fd::{BorrowedFd, IntoRawFd as _};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
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
/// as it decides whether a call that waits is interrupted. So is a signal that gets another handler later, also if that
/// handler calls this one.
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

/// The signals that arrived and are for this module, one bit each.
static ARRIVED: AtomicU32 = AtomicU32::new(0);

/// The pipe that wakes the thread which ends the runs: its end to write to, which stays open.
static WAKE: AtomicI32 = AtomicI32::new(-1);

fn listen(signals: &[i32]) {
    // A forked process has the handlers already, and needs the default action if it cannot have the thread.
    let handler = start_thread().map_or(libc::SIG_DFL, |()| on_signal as *const () as usize);
    signals.iter().for_each(|signal| install(*signal, handler));
}

fn start_thread() -> io::Result<()> {
    let (mut woken, wake) = io::pipe()?;
    rustix::io::ioctl_fionbio(&wake, true)?;
    let end_runs = move || {
        while woken.read(&mut [0; 8]).is_ok_and(|count| count > 0) {
            let arrived = ARRIVED.swap(0, Ordering::SeqCst);
            for signal in [SIGTERM, SIGINT, SIGHUP] {
                if arrived & (1 << signal) != 0 {
                    end_by(signal);
                }
            }
        }
    };
    std::thread::Builder::new().name("model-foundry-signals".into()).spawn(end_runs)?;
    WAKE.store(wake.into_raw_fd(), Ordering::SeqCst);
    Ok(())
}

fn end_by(signal: i32) {
    let runs: Vec<_> = RUNS.lock().iter().filter_map(Weak::upgrade).collect();
    for run in runs {
        run.end_by_signal(signal);
    }
    let _ = emulate_default_handler(signal);
}

/// The handler. It calls only what signal-safety(7) allows, and changes no errno.
extern "C" fn on_signal(signal: libc::c_int) {
    // Another handler has replaced this one and calls it: the signal is that handler's.
    if installed(signal) != on_signal as *const () as usize {
        return;
    }
    ARRIVED.fetch_or(1 << signal, Ordering::SeqCst);
    // SAFETY: the descriptor is open as long as the process.
    #[expect(unsafe_code, reason = "a handler cannot own the descriptor")]
    let wake = unsafe { BorrowedFd::borrow_raw(WAKE.load(Ordering::SeqCst)) };
    // A pipe that is full has woken the thread.
    let _ = rustix::io::write(wake, &[0]);
}

/// The handler of a signal.
fn installed(signal: i32) -> libc::sighandler_t {
    // SAFETY: all of the structure's members are integers, of which 0 is a value; the call only writes to it.
    #[expect(unsafe_code, reason = "no safe function returns a handler")]
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action);
        action.sa_sigaction
    }
}

/// Install a handler; calls that wait continue after it.
fn install(signal: i32, handler: libc::sighandler_t) {
    // SAFETY: as above; the handler is the default or `on_signal`, which may run at any time.
    #[expect(unsafe_code, reason = "no safe function installs a handler that others can replace")]
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
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
