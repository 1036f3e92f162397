//! The queue behind `buffered`: the training thread puts a record in and goes on, one thread writes.
//!
//! It is bounded. When it is full the training thread waits, and the waits are counted: nothing is ever
//! dropped. The writer wakes when a good deal waits, or when the oldest record has waited for
//! `flush_interval_ms`; a producer that woke it for every record would spend a system call on each.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::recorder::Recorder;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::{Error, Result};

/// How many rows may wait: about ten seconds of what the writer manages.
const MOST_ROWS: usize = 1 << 16;

/// How many values all rows that wait may have: 16 MiB of them.
const MOST_VALUES: usize = 1 << 21;

/// How many other records may wait.
const MOST_RECORDS: usize = 1 << 13;

/// How many rows wake the writer.
const WAKING: usize = 1 << 12;

/// How many rows go into one call at most, and how many values: their lines are one write, which must fit
/// into what may wait for a disk.
pub(crate) const BATCH: usize = 512;
pub(crate) const BATCH_VALUES: usize = 1 << 13;

/// A record that is not a row. What it returns is a line for the console, said when the recorder is free
/// again.
pub(crate) type Record = Box<dyn FnOnce(&mut Recorder) -> Result<Option<String>> + Send>;

/// What the writer tells of: a line for the console, or how many records could not be kept, and why.
pub(crate) enum Told<'a> {
    Line(&'a str),
    Failed(&'a Error, u64),
}

/// Rows of the same columns, one after another.
#[derive(Default)]
struct Rows {
    columns: u32,
    times: Vec<u64>,
    steps: Vec<u64>,
    /// NaN for none.
    epochs: Vec<f64>,
    values: Vec<f64>,
}

impl Rows {
    fn has_room(&self, columns: u32, values: usize) -> bool {
        self.columns == columns
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

/// What the producers and the writer share.
struct Shared {
    waiting: Mutex<Waiting>,
    /// The writer waits here for work.
    work: Condvar,
    /// Producers wait here for room, and flushes for the writer.
    done: Condvar,
    /// Rows fill half of the room for them: it may soon be full.
    crowded: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    rows: usize,
    values: usize,
    records: usize,
    /// Jobs are taken out and written; how many rounds of that are over.
    writing: bool,
    rounds: u64,
    /// Somebody waits for everything to be written.
    flush: bool,
    closed: bool,
    /// The writer is gone.
    ended: bool,
    /// How often a producer waited for room.
    waits: u64,
    /// Emptied buffers, to be filled again.
    spare: Vec<Rows>,
}

/// The queue of one run.
pub(crate) struct Queue {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Queue {
    /// Start the writer, which tells `report` of what belongs on the console.
    pub(crate) fn start(
        recorder: Arc<Mutex<Recorder>>,
        interval: Duration,
        report: impl Fn(Told<'_>) + Send + 'static,
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
            .spawn(move || write(&own, &recorder, interval, &report))
            .map_err(|error| Error::Component(format!("no thread could be started: {error}")))?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }

    /// Put a row in; false if the queue is closed.
    #[inline]
    pub(crate) fn push_row(
        &self,
        columns: u32,
        time: u64,
        step: u64,
        epoch: f64,
        values: &[f64],
    ) -> bool {
        let mut waiting = self.shared.waiting.lock();
        if waiting.rows >= MOST_ROWS || waiting.values + values.len() > MOST_VALUES {
            waiting = self.wait_for_room(waiting);
        }
        // After the wait, in which the run may have ended.
        if waiting.closed || waiting.ended {
            return false;
        }
        let rows = match waiting.jobs.back_mut() {
            Some(Job::Rows(rows)) if rows.has_room(columns, values.len()) => rows,
            _ => waiting.new_batch(columns),
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
        if waiting.rows >= MOST_ROWS / 2 || waiting.values >= MOST_VALUES / 2 {
            self.shared.crowded.store(true, Ordering::Relaxed);
        }
        true
    }

    /// Put another record in; if the queue is closed it comes back.
    pub(crate) fn push(&self, time: u64, record: Record) -> Result<(), Record> {
        let mut waiting = self.shared.waiting.lock();
        if waiting.records >= MOST_RECORDS {
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

    /// Wait until all that was put in before is written.
    pub(crate) fn flush(&self) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.jobs.is_empty() && !waiting.writing {
            return;
        }
        // What is being written now is one round, what waits the next.
        let round =
            waiting.rounds + u64::from(waiting.writing) + u64::from(!waiting.jobs.is_empty());
        waiting.flush = true;
        self.shared.work.notify_one();
        while waiting.rounds < round && !waiting.ended {
            waiting = self.shared.done.wait(waiting);
        }
    }

    /// Whether a row that is put in now may have to wait for room.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.shared.crowded.load(Ordering::Relaxed)
    }

    /// How often a producer waited for room.
    pub(crate) fn waits(&self) -> u64 {
        self.shared.waiting.lock().waits
    }

    /// Write everything and end the writer.
    pub(crate) fn close(&self) {
        self.shared.waiting.lock().closed = true;
        self.shared.work.notify_one();
        let writer = self.writer.lock().take();
        // The last handle of a run may be dropped by the console's own code, which the writer runs.
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
        // One round empties the queue.
        let round = waiting.rounds;
        while waiting.rounds == round && !waiting.ended {
            waiting = self.shared.done.wait(waiting);
        }
        waiting
    }
}

impl Waiting {
    /// Whether the writer should not wait any longer.
    fn is_due(&self) -> bool {
        self.closed
            || self.flush
            || self.rows >= WAKING
            || self.values >= MOST_VALUES / 2
            || self.records >= MOST_RECORDS / 2
    }

    #[cold]
    fn new_batch(&mut self, columns: u32) -> &mut Rows {
        let mut rows = self.spare.pop().unwrap_or_default();
        rows.columns = columns;
        self.jobs.push_back(Job::Rows(rows));
        match self.jobs.back_mut() {
            Some(Job::Rows(rows)) => rows,
            _ => unreachable!("rows were put there"),
        }
    }
}

/// Says that the writer is gone, however it went: nobody must wait for it then.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.waiting.lock().ended = true;
        self.0.done.notify_all();
    }
}

/// The writer: take what waits, write it, again.
fn write(
    shared: &Shared,
    recorder: &Mutex<Recorder>,
    interval: Duration,
    report: &dyn Fn(Told<'_>),
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
            // The lock is given back between jobs: whoever wants to log an error waits for one alone.
            let mut recorder = recorder.lock();
            let mut records = 1;
            let written = match job {
                Job::Rows(mut rows) => {
                    let Rows { columns, times, steps, epochs, values } = &rows;
                    records = steps.len() as u64;
                    let written = recorder.log_rows(*columns, times, steps, epochs, values);
                    rows.clear();
                    emptied.push(rows);
                    written.map(|()| None)
                }
                Job::Record { time, record } => recorder.at(time, record),
            };
            drop(recorder);
            // The console may be anybody's code: if it panics, the records behind this one are not lost.
            let _ = catch_unwind(AssertUnwindSafe(|| match &written {
                Ok(Some(line)) => report(Told::Line(line)),
                Ok(None) => {}
                Err(error) => report(Told::Failed(error, records)),
            }));
        }
        waiting = shared.waiting.lock();
        waiting.writing = false;
        waiting.rounds += 1;
        waiting.spare.append(&mut emptied);
        waiting.spare.truncate(MOST_ROWS / BATCH);
        shared.done.notify_all();
    }
}
