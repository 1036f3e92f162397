//! Measures how late the machine runs threads and writes files, so that a test of a time limit allows for just that.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time between two beats, if nothing delays them.
const PERIOD: Duration = Duration::from_millis(5);

/// How many delays a timely write may meet: its thread wakes up late, waits for a lock, is interrupted in the
/// middle, and waits for the file system. Each may last as long as the longest gap between beats.
const DELAYS: u32 = 4;

/// The time by the machine's clock, in microseconds since 1970. It is the same in every process.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    u64::try_from(since.as_micros()).expect("a time before the year 586,000")
}

/// A thread that appends the time to a file every 5 ms. What delays the writer of a log, a busy machine or a busy
/// disk, delays this thread too and shows as a gap in the file.
pub(crate) struct Heartbeat {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Beat until this is dropped or the process ends.
    pub(crate) fn start(path: &Path) -> Self {
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("the file");
        let stopped = Arc::new(AtomicBool::new(false));
        let seen = stopped.clone();
        let thread = spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                file.write_all(format!("{}\n", now()).as_bytes()).expect("a beat is written");
                sleep(PERIOD);
            }
        });
        Self { stopped, thread: Some(thread) }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the heart beats to its end");
        }
    }
}

/// The times of all beats in a file.
pub(crate) fn beats(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).expect("the beats");
    // A kill may have cut the last one short.
    let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole.map(|time| time.parse().expect("a time")).collect()
}

/// How late a write before `end` may be, given the times at which another thread of the process ran.
pub(crate) fn slack(times: &[u64], end: u64) -> Duration {
    let next = times.iter().skip(1).chain([&end]);
    let gaps = times.iter().zip(next).map(|(time, next)| next.saturating_sub(*time));
    DELAYS * Duration::from_micros(gaps.max().expect("a beat"))
}
