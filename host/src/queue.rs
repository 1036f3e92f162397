//! The queue behind `buffered`: the training thread puts a record in and goes on, one thread writes.
//!
//! It is bounded. When it is full the training thread waits, and the waits are counted: nothing is ever
//! dropped. The writer wakes when a good deal waits, or when the oldest record has waited for
//! `flush_interval_ms`; a producer that woke it for every record would spend a system call on each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::recorder::Recorder;
use crate::{Error, Result};

/// How many rows may wait: about ten seconds of what the writer manages.
const MOST_ROWS: usize = 1 << 16;

/// How many values all rows that wait may have: 16 MiB of them.
const MOST_VALUES: usize = 1 << 21;

/// How many other records may wait.
const MOST_RECORDS: usize = 1 << 13;

/// How many rows wake the writer.
const WAKING: usize = 1 << 12;

/// How many rows go into one call: their lines are one write.
const BATCH: usize = 512;

/// A record that is not a row. It is told when it was logged.
type Record = Box<dyn FnOnce(&mut Recorder) -> Result<()> + Send>;

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
    /// Start the writer. `report` is told what could not be kept.
    pub(crate) fn start(
        recorder: Arc<Mutex<Recorder>>,
        interval: Duration,
        report: impl Fn(&Error) + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting::default()),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let own = shared.clone();
        let writer = std::thread::Builder::new()
            .name("model-foundry-writer".into())
            .spawn(move || write(&own, &recorder, interval, &report))
            .map_err(|error| Error::Component(format!("no thread could be started: {error}")))?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }

    /// Put a row in.
    #[inline]
    pub(crate) fn push_row(&self, columns: u32, time: u64, step: u64, epoch: f64, values: &[f64]) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.rows >= MOST_ROWS || waiting.values + values.len() > MOST_VALUES {
            waiting = self.wait_for_room(waiting);
        }
        let rows = match waiting.jobs.back_mut() {
            Some(Job::Rows(rows)) if rows.columns == columns && rows.steps.len() < BATCH => rows,
            _ => waiting.new_batch(columns),
        };
        rows.times.push(time);
        rows.steps.push(step);
        rows.epochs.push(epoch);
        rows.values.extend_from_slice(values);
        waiting.rows += 1;
        waiting.values += values.len();
        if waiting.rows == WAKING {
            self.shared.work.notify_one();
        }
    }

    /// Put another record in.
    pub(crate) fn push(&self, time: u64, record: Record) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.records >= MOST_RECORDS {
            waiting = self.wait_for_room(waiting);
        }
        waiting.jobs.push_back(Job::Record { time, record });
        waiting.records += 1;
        if waiting.records == MOST_RECORDS / 2 {
            self.shared.work.notify_one();
        }
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
        while waiting.rounds < round {
            self.shared.done.wait(&mut waiting);
        }
    }

    /// How often a producer waited for room.
    pub(crate) fn waits(&self) -> u64 {
        self.shared.waiting.lock().waits
    }

    /// Write everything and end the writer.
    pub(crate) fn close(&self) {
        self.shared.waiting.lock().closed = true;
        self.shared.work.notify_one();
        if let Some(writer) = self.writer.lock().take() {
            // It runs no code that panics but the caller's console; what it wrote is written.
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
        while waiting.rounds == round {
            self.shared.done.wait(&mut waiting);
        }
        waiting
    }
}

impl Waiting {
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

/// The writer: take what waits, write it, again.
fn write(shared: &Shared, recorder: &Mutex<Recorder>, interval: Duration, report: &dyn Fn(&Error)) {
    let mut jobs = VecDeque::new();
    let mut waiting = shared.waiting.lock();
    loop {
        let deadline = Instant::now() + interval;
        while !(waiting.closed || waiting.flush || waiting.rows >= WAKING) {
            if shared.work.wait_until(&mut waiting, deadline).timed_out() {
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
        waiting.writing = true;
        drop(waiting);
        let mut emptied = Vec::new();
        for job in jobs.drain(..) {
            // The lock is given back between jobs: whoever wants to log an error waits for one alone.
            let mut recorder = recorder.lock();
            let written = match job {
                Job::Rows(mut rows) => {
                    let Rows { columns, times, steps, epochs, values } = &rows;
                    let written = recorder.log_rows(*columns, times, steps, epochs, values);
                    rows.clear();
                    emptied.push(rows);
                    written
                }
                Job::Record { time, record } => recorder.at(time, record),
            };
            drop(recorder);
            if let Err(error) = written {
                report(&error);
            }
        }
        waiting = shared.waiting.lock();
        waiting.writing = false;
        waiting.rounds += 1;
        waiting.spare.append(&mut emptied);
        waiting.spare.truncate(MOST_ROWS / BATCH);
        shared.done.notify_all();
    }
}
