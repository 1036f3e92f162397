//! A run: the library's front door.

mod builder;
mod fork;
mod reporter;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cap_std::fs::Dir;
use model_foundry_guest::config::LoggingConfig;
use model_foundry_guest::line_buffer::LineBuffer;
use model_foundry_guest::timestamp::Timestamps;
use model_foundry_guest::{Field, Level, Value};

pub use self::builder::RunBuilder;
pub use self::fork::Heritage;
use self::reporter::Reporter;
pub use self::reporter::{Console, OnError};
use crate::attempt::Attempted;
use crate::errors::ErrorTracker;
use crate::imports::MemorySample;
use crate::imports::clocks::Clock;
use crate::imports::files::{RepairedTail, StorageTally};
use crate::locks;
use crate::manifest::{self, Manifest, Status};
use crate::metrics::MetricsLogger;
use crate::performance::PerformanceLogger;
use crate::queue::Queue;
use crate::recorder::Recorder;
use crate::sampler::Sampler;
use crate::shapes::Shapes;
use crate::structured::StructuredLogger;
use crate::sync::{Mutex, MutexGuard};
use crate::termination::Flush;
use crate::{Error, Result};

/// The variable by which `model-foundry run` tells a library in its command which run folder to join.
pub const RUN_DIR_VARIABLE: &str = "MODEL_FOUNDRY_RUN_DIR";

/// A run that is being logged. Clones are the same run; threads may share it.
///
/// The attempt ends when the last clone is dropped: well, or failed if that happens during a panic; or when
/// [`Run::finish`] says how.
#[derive(Clone)]
pub struct Run {
    inner: Arc<Inner>,
}

struct Inner {
    /// Where records wait under `buffered`.
    queue: Option<Queue>,
    reporter: Arc<Reporter>,
    recorder: Arc<Mutex<Recorder>>,
    sampler: Mutex<Sampler>,
    nvml: Option<PathBuf>,
    watched: Mutex<Vec<u32>>,
    folder: PathBuf,
    dir: Dir,
    manifest: Mutex<Manifest>,
    shapes: Mutex<Shapes>,
    attempt: Mutex<Attempted>,
    config: LoggingConfig,
    /// The least grave level that goes anywhere.
    least: Level,
    clock: Clock,
    rank: Option<u32>,
    /// Whether this process' rank has files of its own.
    shards: bool,
    /// Says that this process takes part in the run; none in a forked one that has left it to its parent.
    live: Mutex<Option<locks::Lock>>,
}

impl Run {
    /// Open the run of an experiment in a folder of runs, with the default configuration.
    ///
    /// # Errors
    ///
    /// As [`RunBuilder::open`].
    pub fn open(runs_dir: impl Into<PathBuf>, experiment: &str) -> Result<Self> {
        Self::builder(experiment).runs_dir(runs_dir).open()
    }

    /// A run of an experiment, to be configured and opened.
    ///
    /// Under `model-foundry run`, which names its folder in `MODEL_FOUNDRY_RUN_DIR`, the process joins that
    /// run, whatever the experiment's name here, with that run's configuration unless another is given; the
    /// program then takes no metrics from its output. [`RunBuilder::folder`] opens a run of one's own
    /// there too.
    pub fn builder(experiment: &str) -> RunBuilder {
        RunBuilder::new(experiment)
    }

    /// A structured logger. Its base context is the run's: experiment, git_hash and device.
    pub fn logger(&self, name: &str) -> StructuredLogger {
        let manifest = self.inner.manifest.lock();
        let mut context = vec![
            ("experiment".into(), Value::Text(manifest.experiment.clone())),
            ("git_hash".into(), Value::Text(manifest.git_hash.clone())),
            ("device".into(), Value::Text(manifest.device.clone())),
        ];
        if let Some(rank) = self.inner.rank {
            context.push(("rank".into(), rank.into()));
        }
        drop(manifest);
        StructuredLogger::new(self.clone(), name, context)
    }

    /// The metrics logger.
    pub fn metrics(&self) -> MetricsLogger {
        MetricsLogger::new(self.clone())
    }

    /// The performance logger.
    pub fn performance(&self) -> PerformanceLogger {
        PerformanceLogger::new(self.clone())
    }

    /// The error tracker.
    pub fn errors(&self) -> ErrorTracker {
        ErrorTracker::new(self.clone())
    }

    /// The run folder.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// The logging configuration.
    pub fn config(&self) -> &LoggingConfig {
        &self.inner.config
    }

    /// The manifest, as it was when the run was opened.
    pub fn manifest(&self) -> Manifest {
        self.inner.manifest.lock().clone()
    }

    /// Which attempt at the experiment this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt.lock().number()
    }

    /// This process' rank, where there are several.
    pub fn rank(&self) -> Option<u32> {
        self.inner.rank
    }

    /// What became of records that the storage did not take at once.
    pub fn storage(&self) -> StorageTally {
        self.after_all(|recorder| Ok(recorder.sandbox().powers()?.files().tally()))
            .unwrap_or_default()
    }

    /// How often the component failed and was started anew.
    pub fn component_failures(&self) -> u64 {
        self.inner.recorder.lock().sandbox().traps()
    }

    /// Memory samples count these processes, and what they started, instead of this one.
    pub fn watch(&self, process: u32) {
        self.inner.watched.lock().push(process);
    }

    /// Bring everything that was logged to the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.after_all(|recorder| {
            recorder
                .metrics(|logger, store, metrics| logger.call_checkpoint(store, metrics, None))?;
            let synced = recorder.sandbox().powers()?.files().sync();
            synced.map_err(|error| Error::Storage(error.to_string()))
        })
    }

    /// End the attempt as failed by this error: it goes into errors.jsonl and, at ERROR, into main.log.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`]: if the error could not be kept.
    pub fn fail<E: std::error::Error + ?Sized>(&self, error: &E, context: &[Field]) -> Result<()> {
        let tracked = self.errors().log_error(error, context);
        let logged = self.logger("model_foundry").exception("training failed", error, context);
        self.finish(Status::Failed, None);
        tracked.and(logged)
    }

    /// End the attempt. The first end counts.
    pub fn finish(&self, status: Status, exit_code: Option<i32>) {
        self.inner.finish(status, exit_code);
    }

    /// Whether a library inside the watched command logs to this run too.
    pub fn has_library_inside(&self) -> bool {
        let manifest = Manifest::read(&self.inner.dir).ok().flatten();
        manifest.is_some_and(|manifest| {
            manifest.latest().is_some_and(|attempt| attempt.logged_by_library)
        })
    }

    /// Whether a record of this level goes anywhere.
    #[inline]
    pub(crate) fn wants(&self, level: Level) -> bool {
        level >= self.inner.least
    }

    /// Work with the component's loggers.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Recorder) -> Result<R>) -> Result<R> {
        work(&mut self.inner.recorder.lock())
    }

    /// Work with them unless another thread does.
    pub(crate) fn with_if_free<R>(&self, work: impl FnOnce(&mut Recorder) -> R) -> Option<R> {
        self.inner.recorder.try_lock().map(|mut recorder| work(&mut recorder))
    }

    /// Work with them after all that was logged before.
    pub(crate) fn after_all<R>(&self, work: impl FnOnce(&mut Recorder) -> Result<R>) -> Result<R> {
        self.flush();
        self.with(work)
    }

    /// Keep a record now: what goes wrong is counted, said once, and returned only if that was asked for
    /// or it is the caller's own fault.
    pub(crate) fn keep<R: Default>(
        &self,
        work: impl FnOnce(&mut Recorder) -> Result<R>,
    ) -> Result<R> {
        self.inner.reporter.judge(self.with(work))
    }

    /// The columns that steps by name have become.
    pub(crate) fn shapes(&self) -> MutexGuard<'_, Shapes> {
        self.inner.shapes.lock()
    }

    /// The queue under `buffered`, and the time now: a record that goes into it carries when it was
    /// logged.
    #[inline]
    pub(crate) fn queue(&self) -> Option<(&Queue, u64)> {
        self.inner.queue.as_ref().map(|queue| (queue, self.inner.clock.now()))
    }

    /// Nanoseconds of the monotonic clock.
    pub(crate) fn monotonic(&self) -> u64 {
        self.inner.clock.monotonic()
    }

    /// How often a call had to wait because the queue of `buffered` was full.
    pub fn queue_waits(&self) -> u64 {
        self.inner.queue.as_ref().map_or(0, Queue::waits)
    }

    /// Whether logging a row may wait: for the disk, or under `buffered` for room in the queue. Whoever
    /// holds a lock that others need gives it up first.
    #[inline]
    pub fn may_wait(&self) -> bool {
        self.inner.queue.as_ref().is_none_or(Queue::is_crowded)
    }

    /// Write what is buffered. Under the other durabilities nothing is.
    pub fn flush(&self) {
        self.inner.flush();
    }

    /// Put a line on the console, if there is one.
    pub(crate) fn say_line(&self, line: Option<String>) {
        if let Some(line) = line {
            self.inner.reporter.say(&line);
        }
    }

    /// Sample memory, outside the component's lock.
    pub(crate) fn sample(&self) -> MemorySample {
        let watched = self.inner.watched.lock().clone();
        self.inner.sampler.lock().sample(&watched)
    }

    /// Logs which torn last lines, left by a crash, were repaired.
    fn log_repaired_tails(&self) -> Result<()> {
        let repaired: Vec<RepairedTail> =
            self.with(|recorder| Ok(recorder.sandbox().powers()?.files().take_repaired()))?;
        let logger = self.logger("model_foundry");
        for RepairedTail { name, bytes } in repaired {
            logger.warning(
                "a torn last line was moved aside",
                &crate::fields! { file: name.clone(), bytes, moved_to: format!("{name}.torn") },
            )?;
        }
        Ok(())
    }
}

impl Flush for Inner {
    fn flush(&self) {
        if let Some(queue) = &self.queue {
            queue.flush();
        }
    }
}

impl Inner {
    fn finish(&self, status: Status, exit_code: Option<i32>) {
        // Before any lock is taken: the writer runs the console's code, which may ask for anything.
        if let Some(queue) = &self.queue {
            queue.close();
        }
        let mut attempt = self.attempt.lock();
        if attempt.has_ended() {
            return;
        }
        let mut recorder = self.recorder.lock();
        let code = exit_code.unwrap_or(i32::from(status != Status::Completed));
        let closed = recorder
            .metrics(|logger, store, metrics| logger.call_checkpoint(store, metrics, Some(code)));
        // A report of nothing is none, and reading back what earlier attempts timed takes its time.
        let reported = if recorder.has_timed() {
            recorder.performance(|logger, store, performance| {
                logger.call_export_report(store, performance)
            })
        } else {
            Ok(())
        };
        let traps = recorder.sandbox().traps();
        let tally = recorder.sandbox().powers().map(|powers| {
            powers.files().close();
            powers.files().tally()
        });
        drop(recorder);
        let mut tally = tally.unwrap_or_default();
        tally.refused += self.reporter.lost.load(Ordering::Relaxed);
        let written =
            attempt.end(&self.dir, status, exit_code, timestamp(self.clock.now()), &tally, traps);
        if let Err(error) = &written {
            let manifest = self.folder.join(manifest::MANIFEST);
            self.reporter.say(&format!("model-foundry: {}: {error}", manifest.display()));
        }
        // Both are derived from what is kept elsewhere; the tally has what the storage said.
        drop((closed, reported));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let status = if std::thread::panicking() { Status::Failed } else { Status::Completed };
        self.finish(status, None);
    }
}

/// A timestamp's text.
fn timestamp(time: u64) -> String {
    let mut text = LineBuffer::new();
    Timestamps::default().write(&mut text, time);
    text.into()
}

/// Fields with a further one in front.
pub(crate) fn with_field(name: &str, value: impl Into<Value>, fields: &[Field]) -> Vec<Field> {
    let mut all = Vec::with_capacity(fields.len() + 1);
    all.push((name.to_owned(), value.into()));
    all.extend_from_slice(fields);
    all
}
