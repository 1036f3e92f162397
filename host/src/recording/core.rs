//! What a run and its loggers share. The run is above the loggers, and this is below both.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use model_foundry_types::{Field, Level, LoggingConfig, rfc3339};

use super::attempt::{AttemptWriter, Ending};
use super::column_sets::ColumnSets;
use super::error_policy::ErrorPolicy;
use super::guest_loggers::GuestLoggers;
use super::queue::Queue;
use crate::Result;
use crate::engine::sandbox::{BUDGET, until_done};
use crate::folder::locks;
use crate::folder::manifest::{MANIFEST, Manifest, Status};
use crate::process::mutex::{Mutex, MutexGuard};
use crate::process::origin::Commit;
use crate::process::termination::{EndedBySignal, signal_name};
use crate::services::Sample;
use crate::services::clocks::Clock;
use crate::services::files::StorageTally;
use crate::services::sampler::Sampler;

/// After how long a call other threads get the loggers for a moment.
const LONG_CALL: Duration = Duration::from_millis(10);

/// An open run. The attempt ends when the last handle of it is dropped.
pub(crate) struct RunCore {
    /// Where records wait under `buffered`.
    pub(crate) queue: Option<Queue>,
    pub(crate) policy: Arc<ErrorPolicy>,
    pub(crate) guest: Arc<Mutex<GuestLoggers>>,
    pub(crate) sampler: Mutex<Sampler>,
    pub(crate) nvml: Option<PathBuf>,
    /// The processes that memory samples count, instead of this one.
    pub(crate) monitored: Mutex<Vec<u32>>,
    pub(crate) folder: PathBuf,
    pub(crate) dir: Dir,
    pub(crate) commit: Commit,
    pub(crate) manifest: Mutex<Manifest>,
    /// The column sets of steps that are logged by name.
    pub(crate) column_sets: Mutex<ColumnSets>,
    pub(crate) attempt: Mutex<AttemptWriter>,
    pub(crate) config: LoggingConfig,
    /// The minimum level of records that go anywhere.
    pub(crate) minimum_level: Level,
    pub(crate) clock: Clock,
    pub(crate) rank: Option<u32>,
    /// Whether this process's rank has files of its own.
    pub(crate) shards: bool,
    /// Marks this process as one that logs to the run; none in a forked process that left the run to its parent.
    pub(crate) live: Mutex<Option<locks::Lock>>,
    /// Whether a step that goes back was reported.
    pub(crate) has_gone_back: AtomicBool,
}

impl RunCore {
    /// Whether a record of this level goes anywhere.
    #[inline]
    pub(crate) fn wants(&self, level: Level) -> bool {
        level >= self.minimum_level
    }

    /// Use the component's loggers.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut GuestLoggers) -> Result<R>) -> Result<R> {
        work(&mut self.guest.lock())
    }

    /// Use the component's loggers unless another thread does.
    pub(crate) fn with_if_free<R>(&self, work: impl FnOnce(&mut GuestLoggers) -> R) -> Option<R> {
        self.guest.try_lock().map(|mut guest| work(&mut guest))
    }

    /// Use the component's loggers after everything that was logged before.
    pub(crate) fn after_all<R>(
        &self,
        work: impl FnOnce(&mut GuestLoggers) -> Result<R>,
    ) -> Result<R> {
        self.flush();
        self.with(work)
    }

    /// Use the component's loggers in several calls, until there is a result. Between two calls other threads log.
    pub(crate) fn with_until_done<R>(
        &self,
        mut work: impl FnMut(&mut GuestLoggers) -> Result<Option<R>>,
    ) -> Result<R> {
        until_done(|| {
            let began = Instant::now();
            let result = self.with(&mut work)?;
            if result.is_none() && began.elapsed() > LONG_CALL {
                // A lock that is taken again at once is not left to the threads that wait for it.
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(result)
        })
    }

    /// Write a record. Failures are counted, reported once, and returned only if the caller asked for that, or if
    /// they are the caller's own mistake.
    pub(crate) fn record<R: Default>(
        &self,
        work: impl FnOnce(&mut GuestLoggers) -> Result<R>,
    ) -> Result<R> {
        self.policy.apply(self.with(work))
    }

    pub(crate) fn column_sets(&self) -> MutexGuard<'_, ColumnSets> {
        self.column_sets.lock()
    }

    /// The queue under `buffered`, and the current time: a record in the queue carries the time of its call.
    #[inline]
    pub(crate) fn queue(&self) -> Option<(&Queue, u64)> {
        self.queue.as_ref().map(|queue| (queue, self.clock.now()))
    }

    /// Nanoseconds of the monotonic clock.
    pub(crate) fn monotonic(&self) -> u64 {
        self.clock.monotonic()
    }

    /// Print a line on the console, if there is one.
    pub(crate) fn print(&self, line: Option<String>) {
        if let Some(line) = line {
            self.policy.print(&line);
        }
    }

    /// The fields that every record of the run has.
    pub(crate) fn base_context(&self) -> Vec<Field> {
        let manifest = self.manifest.lock();
        let mut context = vec![
            Field::new("experiment", manifest.experiment.as_str()),
            Field::new("git_hash", manifest.git_hash.as_str()),
            Field::new("device", manifest.device.as_str()),
        ];
        context.extend(self.rank.map(|rank| Field::new("rank", rank)));
        context
    }

    /// Whether a step that is lower than an earlier one is the first such, and is to be reported.
    pub(crate) fn reports_step_back(&self) -> bool {
        !self.has_gone_back.swap(true, Ordering::Relaxed)
    }

    /// Sample memory. The component's lock is not held.
    pub(crate) fn sample(&self) -> Sample {
        let monitored = self.monitored.lock().clone();
        self.sampler.lock().sample(&monitored)
    }

    /// Write what is buffered. Under the other durabilities nothing is.
    pub(crate) fn flush(&self) {
        if let Some(queue) = &self.queue {
            queue.flush();
        }
    }

    /// End the attempt. The first end counts.
    pub(crate) fn finish(&self, status: Status, exit_code: Option<i32>, signal: Option<i32>) {
        // Before any lock is taken: the writer runs the console's function, which may call anything.
        if let Some(queue) = &self.queue {
            queue.close();
        }
        let ending = self.ending(status, exit_code, signal);
        let (mut attempt, mut guest) = (self.attempt.lock(), self.guest.lock());
        if attempt.has_ended() {
            return;
        }
        let code = exit_code.unwrap_or(i32::from(ending.status != Status::Completed));
        // Copies, the index and the report are derived from what is written elsewhere; the tally has the storage's
        // errors.
        let _ = guest.metrics(|logger, store, handle| logger.call_close(store, handle, code));
        let _ = until_done(|| {
            let saved = guest
                .metrics(|logger, store, handle| logger.call_save_index(store, handle, BUDGET))?;
            Ok(saved.then_some(()))
        });
        // A report without timings is not written, and reading back what earlier attempts timed takes time.
        if guest.has_performance() {
            let _ =
                guest.performance(|logger, store, handle| logger.call_export_report(store, handle));
        }
        self.end(&mut attempt, &mut guest, &ending);
    }

    fn ending(&self, status: Status, exit_code: Option<i32>, signal: Option<i32>) -> Ending {
        let end = rfc3339(self.clock.now());
        Ending { status, exit_code, signal: signal.map(signal_name), end }
    }

    /// Close the files, and record the end and the counts in run.json.
    fn end(&self, attempt: &mut AttemptWriter, guest: &mut GuestLoggers, ending: &Ending) {
        let traps = guest.sandbox().traps();
        let tally = guest.sandbox().services().map(|services| {
            services.files().close();
            services.files().tally()
        });
        let mut tally = tally.unwrap_or_default();
        tally.refused += self.policy.lost();
        let ended = attempt.end(&self.dir, ending, &tally, traps).or_else(|error| {
            // The folder may have been deleted and made again.
            let dir = Dir::open_ambient_dir(&self.folder, ambient_authority());
            dir.and_then(|dir| attempt.end(&dir, ending, &tally, traps)).map_err(|_| error)
        });
        let manifest = self.folder.join(MANIFEST);
        match ended {
            Err(error) => {
                let counts = lost(&tally, traps);
                let manifest = manifest.display();
                self.policy.report(&format!("cannot write {manifest} ({error}): {counts}"));
            }
            Ok(()) if tally.refused > 0 => self.policy.report(&lost(&tally, traps)),
            Ok(()) => {}
        }
    }
}

/// The status of an attempt that a signal has ended.
pub(crate) fn status_after(signal: i32) -> Status {
    use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
    let by_scheduler = || {
        let given = |name| std::env::var(name).is_ok_and(|value| !value.is_empty());
        given("SLURM_JOB_ID") || given("TORCHELASTIC_RUN_ID")
    };
    match signal {
        SIGTERM if by_scheduler() => Status::Preempted,
        SIGINT | SIGTERM | SIGHUP => Status::Interrupted,
        _ => Status::Killed,
    }
}

/// What an attempt lost, in words.
fn lost(tally: &StorageTally, traps: u64) -> String {
    let counted = |count: u64, one: &str, more: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    };
    let mut parts = vec![
        counted(tally.refused, "record was lost", "records were lost"),
        counted(tally.failures, "append failed", "appends failed"),
    ];
    if traps > 0 {
        parts.push(format!("the component failed {}", counted(traps, "time", "times")));
    }
    let latest = tally.latest.as_ref().map(|latest| format!(": {latest}")).unwrap_or_default();
    format!("{}{latest}", parts.join(", "))
}

impl EndedBySignal for RunCore {
    fn end_by_signal(&self, signal: i32) {
        /// How long the end of the process waits for a call in progress.
        const PATIENCE: Duration = Duration::from_secs(2);
        self.flush();
        let ending = self.ending(status_after(signal), None, Some(signal));
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(mut attempt) = self.attempt.try_lock()
                && let Some(mut guest) = self.guest.try_lock()
            {
                if !attempt.has_ended() {
                    // Without the index: reading a long file would delay the end.
                    self.end(&mut attempt, &mut guest, &ending);
                }
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for RunCore {
    fn drop(&mut self) {
        let status = if std::thread::panicking() { Status::Failed } else { Status::Completed };
        self.finish(status, None, None);
    }
}
