//! The queue of `buffered` runs: the training thread adds records and continues, and one writer thread writes
//! them.
//!
//! The queue is bounded. If it is full, the training thread waits, and the waits are counted. No record is ever
//! dropped. The writer wakes when many records wait, or after `flush_interval_ms`. To wake it for every record
//! would cost the training thread a system call each time.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::guest_loggers::GuestLoggers;
use crate::process::mutex::{Condvar, Mutex, MutexGuard};
use crate::{Error, Result};

/// How many rows may wait: about as many as the writer writes in ten seconds.
const MAX_ROWS: usize = 1 << 16;

/// How many values the waiting rows may have in total: 16 MiB of them.
const MAX_VALUES: usize = 1 << 21;

/// How many other records may wait.
const MAX_RECORDS: usize = 1 << 13;

/// How many waiting rows wake the writer.
const WAKE_ROWS: usize = 1 << 12;

/// How many rows a batch may have. A batch is one write, so it must fit in the pending buffer.
pub(crate) const BATCH: usize = 512;

/// How many values the rows of a batch may have in total.
pub(crate) const BATCH_VALUES: usize = 1 << 13;

/// Writes a record that is not a row. It may return a line for the console, which is printed after the recorder
/// is unlocked.
pub(crate) type Record = Box<dyn FnOnce(&mut GuestLoggers) -> Result<Option<String>> + Send>;

/// A message from the writer.
pub(crate) enum Message<'a> {
    /// A line for the console.
    Line(&'a str),
    /// This many records could not be written, and why.
    Failed(&'a Error, u64),
}

/// A batch of rows with the same columns.
#[derive(Default)]
struct Rows {
    column_set: u32,
    times: Vec<u64>,
    steps: Vec<u64>,
    /// NaN if the row has none.
    epochs: Vec<f64>,
    values: Vec<f64>,
}

impl Rows {
    fn has_room(&self, column_set: u32, values: usize) -> bool {
        self.column_set == column_set
            && self.steps.len() < BATCH
            && self.values.len() + values <= BATCH_VALUES
    }

    fn clear(&mut self) {
        self.times.clear();
        self.steps.clear();
        self.epochs.clear();
        self.values.clear();
    }
}

enum Job {
    Rows(Rows),
    Record { time: u64, record: Record },
}

/// The state that the producers and the writer share.
struct Shared {
    waiting: Mutex<Waiting>,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes producers that wait for room, and flushes.
    done: Condvar,
    /// The queue is half full of rows, so that a producer may soon have to wait.
    crowded: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    rows: usize,
    values: usize,
    records: usize,
    /// Whether the writer has taken jobs that it has not written yet.
    writing: bool,
    /// How often the writer has taken all jobs and written them.
    rounds: u64,
    /// A thread waits until everything is written.
    flush: bool,
    closed: bool,
    /// The writer has ended.
    ended: bool,
    /// How often a producer waited for room.
    waits: u64,
    /// Empty batches, whose memory is reused.
    spare: Vec<Rows>,
}

/// The queue of one run.
pub(crate) struct Queue {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Queue {
    /// Starts the writer, which passes its messages to `report`.
    pub(crate) fn start(
        guest: Arc<Mutex<GuestLoggers>>,
        interval: Duration,
        report: impl Fn(Message<'_>) + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting::default()),
            work: Condvar::default(),
            done: Condvar::default(),
            crowded: AtomicBool::new(false),
        });
        let own = shared.clone();
        let writer = thread::Builder::new()
            .name("model-foundry-writer".into())
            .spawn(move || write(&own, &guest, interval, &report))
            .map_err(|error| Error::Component(format!("could not start a thread: {error}")))?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }

    /// Adds a row; false if the queue is closed.
    #[inline]
    pub(crate) fn push_row(
        &self,
        column_set: u32,
        time: u64,
        step: u64,
        epoch: f64,
        values: &[f64],
    ) -> bool {
        let mut waiting = self.shared.waiting.lock();
        if waiting.rows >= MAX_ROWS || waiting.values + values.len() > MAX_VALUES {
            waiting = self.wait_for_room(waiting);
        }
        // Only now, because the run may have ended during the wait.
        if waiting.closed || waiting.ended {
            return false;
        }
        let rows = match waiting.jobs.back_mut() {
            Some(Job::Rows(rows)) if rows.has_room(column_set, values.len()) => rows,
            _ => waiting.new_batch(column_set),
        };
        rows.times.push(time);
        rows.steps.push(step);
        rows.epochs.push(epoch);
        rows.values.extend_from_slice(values);
        let was_due = waiting.is_due();
        waiting.rows += 1;
        waiting.values += values.len();
        if !was_due && waiting.is_due() {
            self.shared.work.notify_one();
        }
        if waiting.rows >= MAX_ROWS / 2 || waiting.values >= MAX_VALUES / 2 {
            self.shared.crowded.store(true, Ordering::Relaxed);
        }
        true
    }

    /// Adds another record. If the queue is closed, returns the record as the error.
    pub(crate) fn push(&self, time: u64, record: Record) -> Result<(), Record> {
        let mut waiting = self.shared.waiting.lock();
        if waiting.records >= MAX_RECORDS {
            waiting = self.wait_for_room(waiting);
        }
        if waiting.closed || waiting.ended {
            return Err(record);
        }
        let was_due = waiting.is_due();
        waiting.jobs.push_back(Job::Record { time, record });
        waiting.records += 1;
        if !was_due && waiting.is_due() {
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Waits until everything that was added before is written.
    pub(crate) fn flush(&self) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.jobs.is_empty() && !waiting.writing {
            return;
        }
        // The jobs that are being written are one round, and those that wait are the next.
        let round =
            waiting.rounds + u64::from(waiting.writing) + u64::from(!waiting.jobs.is_empty());
        waiting.flush = true;
        self.shared.work.notify_one();
        while waiting.rounds < round && !waiting.ended {
            waiting = self.shared.done.wait(waiting);
        }
    }

    /// Whether a row that is added now may have to wait for room.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.shared.crowded.load(Ordering::Relaxed)
    }

    /// How often a producer waited for room.
    pub(crate) fn waits(&self) -> u64 {
        self.shared.waiting.lock().waits
    }

    /// Writes everything, and ends the writer.
    pub(crate) fn close(&self) {
        self.shared.waiting.lock().closed = true;
        self.shared.work.notify_one();
        let writer = self.writer.lock().take();
        // The writer may be the thread that closes the queue: it runs the console's code, which may drop the
        // last handle of the run.
        if let Some(writer) = writer.filter(|writer| writer.thread().id() != thread::current().id())
        {
            let _ = writer.join();
        }
    }

    #[cold]
    fn wait_for_room<'a>(
        &'a self,
        mut waiting: MutexGuard<'a, Waiting>,
    ) -> MutexGuard<'a, Waiting> {
        waiting.waits += 1;
        waiting.flush = true;
        self.shared.work.notify_one();
        // A round empties the queue.
        let round = waiting.rounds;
        while waiting.rounds == round && !waiting.ended {
            waiting = self.shared.done.wait(waiting);
        }
        waiting
    }
}

impl Waiting {
    /// Whether the writer should write now.
    fn is_due(&self) -> bool {
        self.closed
            || self.flush
            || self.rows >= WAKE_ROWS
            || self.values >= MAX_VALUES / 2
            || self.records >= MAX_RECORDS / 2
    }

    #[cold]
    fn new_batch(&mut self, column_set: u32) -> &mut Rows {
        let mut rows = self.spare.pop().unwrap_or_default();
        rows.column_set = column_set;
        self.jobs.push_back(Job::Rows(rows));
        match self.jobs.back_mut() {
            Some(Job::Rows(rows)) => rows,
            _ => unreachable!("a batch was added"),
        }
    }
}

/// Marks the writer as ended when it is dropped, even by a panic, so that no thread waits for the writer
/// forever.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.waiting.lock().ended = true;
        self.0.done.notify_all();
    }
}

/// The writer: takes the waiting jobs and writes them, until the queue is closed.
fn write(
    shared: &Shared,
    guest: &Mutex<GuestLoggers>,
    interval: Duration,
    report: &dyn Fn(Message<'_>),
) {
    let _ended = Ended(shared);
    let mut jobs = VecDeque::new();
    let mut waiting = shared.waiting.lock();
    loop {
        let deadline = Instant::now() + interval;
        while !waiting.is_due() {
            let passed;
            (waiting, passed) = shared.work.wait_until(waiting, deadline);
            if passed {
                break;
            }
        }
        waiting.flush = false;
        if waiting.jobs.is_empty() {
            if waiting.closed {
                return;
            }
            waiting.rounds += 1;
            shared.done.notify_all();
            continue;
        }
        std::mem::swap(&mut jobs, &mut waiting.jobs);
        (waiting.rows, waiting.values, waiting.records) = (0, 0, 0);
        shared.crowded.store(false, Ordering::Relaxed);
        waiting.writing = true;
        drop(waiting);
        let mut emptied = Vec::new();
        for job in jobs.drain(..) {
            // Unlocked between jobs, so that a thread that logs an error waits for only one of them.
            let mut guest = guest.lock();
            let mut records = 1;
            let written = match job {
                Job::Rows(mut rows) => {
                    let Rows { column_set, times, steps, epochs, values } = &rows;
                    records = steps.len() as u64;
                    let written = guest.log_rows(*column_set, times, steps, epochs, values);
                    rows.clear();
                    emptied.push(rows);
                    written.map(|()| None)
                }
                Job::Record { time, record } => guest.as_of(time, record),
            };
            drop(guest);
            // `report` runs the user's console. If that panics, the remaining records must not be lost.
            let _ = catch_unwind(AssertUnwindSafe(|| match &written {
                Ok(Some(line)) => report(Message::Line(line)),
                Ok(None) => {}
                Err(error) => report(Message::Failed(error, records)),
            }));
        }
        waiting = shared.waiting.lock();
        waiting.writing = false;
        waiting.rounds += 1;
        waiting.spare.append(&mut emptied);
        waiting.spare.truncate(MAX_ROWS / BATCH);
        shared.done.notify_all();
    }
}
