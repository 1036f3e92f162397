//! A run: the library's front door.

mod builder;
mod fork;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use model_foundry_types::{
    Field, GivenRecord, Level, LoggingConfig, MessageRecord, ParsedRecord, StepRecord,
    SummaryRecord,
};

pub use self::builder::{Resume, RunBuilder};
pub use self::fork::ForkState;
use crate::api::errors::ErrorTracker;
use crate::api::metrics::MetricsLogger;
use crate::api::performance::PerformanceLogger;
use crate::api::structured::StructuredLogger;
use crate::folder::manifest::{MANIFEST, Manifest, Status};
use crate::folder::{RunFolder, current_path};
use crate::process::secrets;
use crate::recording::attempt::AttemptWriter;
use crate::recording::core::{RunCore, status_after};
use crate::recording::queue::Queue;
use crate::services::files::{RepairedTail, StorageTally};
use crate::{Error, Result};

/// The environment variable with the run folder that a library in the command of `model-foundry run` joins.
pub const RUN_DIR_VARIABLE: &str = "MODEL_FOUNDRY_RUN_DIR";

/// The environment variable that `model-foundry run` sets for its command.
#[doc(hidden)]
pub const SUPERVISED_VARIABLE: &str = "MODEL_FOUNDRY_SUPERVISED";

/// A run that is being logged. Clones are the same run; threads may share it.
///
/// The attempt ends when the last clone and the last logger are dropped: completed, or failed if that happens during
/// a panic; or when [`Run::finish`] ends it.
#[derive(Clone)]
pub struct Run {
    core: Arc<RunCore>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("folder", &self.core.folder).finish_non_exhaustive()
    }
}

impl Run {
    /// Begin a run of an experiment in a folder of runs, with the default configuration.
    ///
    /// # Errors
    ///
    /// As [`RunBuilder::open`].
    pub fn open(runs_dir: impl Into<PathBuf>, experiment: &str) -> Result<Self> {
        Self::builder(experiment).runs_dir(runs_dir).open()
    }

    /// A run of an experiment, to be configured and opened.
    ///
    /// Under `model-foundry run`, which names its folder in `MODEL_FOUNDRY_RUN_DIR`, the process joins that run,
    /// whatever the experiment's name here, with that run's configuration unless another is given; the program then
    /// takes no metrics from the process's output. [`RunBuilder::folder`] opens a separate run there too.
    pub fn builder(experiment: &str) -> RunBuilder {
        RunBuilder::new(experiment)
    }

    /// A structured logger. Its base context is the run's: experiment, git_hash and device, and the rank if there are
    /// several.
    pub fn logger(&self, name: &str) -> StructuredLogger {
        StructuredLogger::new(self.core.clone(), name, self.core.base_context())
    }

    /// The metrics logger.
    pub fn metrics(&self) -> MetricsLogger {
        MetricsLogger::new(self.core.clone())
    }

    /// The performance logger.
    pub fn performance(&self) -> PerformanceLogger {
        PerformanceLogger::new(self.core.clone())
    }

    /// The error tracker.
    pub fn errors(&self) -> ErrorTracker {
        ErrorTracker::new(self.core.clone())
    }

    /// The run folder.
    pub fn folder(&self) -> &Path {
        &self.core.folder
    }

    /// The logging configuration.
    pub fn config(&self) -> &LoggingConfig {
        &self.core.config
    }

    /// The manifest as it was when the run was opened.
    pub fn manifest(&self) -> Manifest {
        self.core.manifest.lock().clone()
    }

    /// The attempt at the experiment, from 1.
    pub fn attempt(&self) -> u32 {
        self.core.attempt.lock().number()
    }

    /// This process's rank, if there are several.
    pub fn rank(&self) -> Option<u32> {
        self.core.rank
    }

    /// What happened to records that the storage did not take at once.
    pub fn storage(&self) -> StorageTally {
        self.core
            .after_all(|guest| Ok(guest.sandbox().services()?.files().tally()))
            .unwrap_or_default()
    }

    /// How often the component failed and was restarted.
    pub fn component_failures(&self) -> u64 {
        self.core.guest.lock().sandbox().traps()
    }

    /// Write everything that was logged to the disk, and wait until it is there.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.core.after_all(|guest| {
            guest.metrics(|logger, store, handle| logger.call_flush(store, handle))?;
            let synced = guest.sandbox().services()?.files().sync();
            synced.map_err(|error| Error::Storage(error.to_string()))
        })
    }

    /// Write what is buffered. Under the other durabilities nothing is.
    pub fn flush(&self) {
        self.core.flush();
    }

    /// End the attempt as failed by this error, which goes to errors.jsonl and, at ERROR, to main.log.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`](crate::OnError::Return): if the error could not be written.
    pub fn fail<E: std::error::Error + ?Sized>(&self, error: &E, context: &[Field]) -> Result<()> {
        let tracked = self.errors().log_error(error, context);
        let logged = self.logger("model_foundry").exception("training failed", error, context);
        self.finish(Status::Failed, None);
        tracked.and(logged)
    }

    /// End the attempt. The first end counts.
    pub fn finish(&self, status: Status, exit_code: Option<i32>) {
        self.core.finish(status, exit_code, None);
    }

    /// End the attempt as ended by a signal: interrupted, preempted or killed. The first end counts.
    pub fn finish_by_signal(&self, signal: i32, exit_code: Option<i32>) {
        self.core.finish(status_after(signal), exit_code, Some(signal));
    }

    /// Add sections to the configuration that run.json records, or change them: `model`, `training`, anything that a
    /// reader will want to know.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if run.json cannot be written.
    pub fn configure(&self, sections: &serde_json::Map<String, serde_json::Value>) -> Result<()> {
        self.change_manifest(|attempt, dir| attempt.configure(dir, sections))
    }

    /// Add parameters of the experiment to those that run.json records, or change them: a learning rate, a batch size.
    /// Values that look like secrets are masked.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if run.json cannot be written.
    pub fn add_parameters(
        &self,
        parameters: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<()> {
        let parameters = secrets::masked_members(parameters);
        self.change_manifest(|attempt, dir| attempt.add_parameters(dir, &parameters))
    }

    /// Record results of this attempt in run.json, or change them: the best accuracy, a final score.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if run.json cannot be written.
    pub fn add_results(&self, results: &serde_json::Map<String, serde_json::Value>) -> Result<()> {
        self.change_manifest(|attempt, dir| attempt.add_results(dir, results))
    }

    fn change_manifest(
        &self,
        change: impl FnOnce(&AttemptWriter, &Dir) -> std::io::Result<()>,
    ) -> Result<()> {
        change(&self.core.attempt.lock(), &self.core.dir)
            .map_err(|error| Error::path(self.core.folder.join(MANIFEST), error))
    }

    /// The path of the run folder now, which differs from [`folder`](Self::folder) if it was moved or renamed.
    pub fn current_folder(&self) -> PathBuf {
        current_path(&self.core.dir).unwrap_or_else(|| self.core.folder.clone())
    }

    /// The run folder to read, whatever happens to its path.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if the process may open no more files.
    pub fn run_folder(&self) -> Result<RunFolder> {
        RunFolder::of_open(&self.core.dir, &self.core.folder)
    }

    /// Report in the log which torn ends, left by a crash, were repaired.
    fn log_repaired_tails(&self) -> Result<()> {
        let repaired: Vec<RepairedTail> =
            self.core.with(|guest| Ok(guest.sandbox().services()?.files().take_repaired()))?;
        let logger = self.logger("model_foundry");
        for RepairedTail { name, bytes } in repaired {
            let moved_to = format!("{name}.torn");
            let fields = crate::fields! { file: name, bytes, moved_to };
            logger.warning("a torn last line was moved aside", &fields)?;
        }
        Ok(())
    }
}

/// For the program and for other languages' bindings, which know more of the process than a trainer does.
#[doc(hidden)]
impl Run {
    /// Count these processes and their descendants in memory samples, instead of this process.
    pub fn monitor(&self, process: u32) {
        self.core.monitored.lock().push(process);
    }

    /// Whether a record of this level goes to main.log or to the console.
    pub fn wants(&self, level: Level) -> bool {
        self.core.wants(level)
    }

    /// Whether a library inside the supervised command logs to this run too.
    pub fn has_library_inside(&self) -> bool {
        let manifest = Manifest::read(&self.core.dir).ok().flatten();
        manifest.is_some_and(|manifest| {
            manifest.latest().is_some_and(|attempt| attempt.logged_by_library)
        })
    }

    /// Log a record given as a line of JSON, with the time and the attempt that it names. `logger` logs a message.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`](crate::OnError::Return): if the record could not be written.
    pub fn log_given(
        &self,
        line: &str,
        given: GivenRecord,
        logger: &StructuredLogger,
    ) -> Result<()> {
        let is_own = given.timestamp.is_none()
            && given.attempt.is_none()
            && given.rank.is_none()
            && !given.step_inferred
            && given.epoch_step.is_none();
        let time = given.timestamp.unwrap_or_else(|| self.core.clock.now());
        match given.record {
            ParsedRecord::Step(StepRecord { step, epoch, metrics }) if is_own => {
                self.metrics().log_step(step, epoch, &metrics)
            }
            ParsedRecord::Summary(SummaryRecord { epoch, summary }) if is_own => {
                self.metrics().log_epoch_summary(epoch, &summary)
            }
            ParsedRecord::Step(_) | ParsedRecord::Summary(_) => {
                self.metrics().log_line(line.to_owned(), time)
            }
            ParsedRecord::Message(MessageRecord { level, message, fields }) => {
                if is_own {
                    logger.log(level, &message, &fields)
                } else {
                    logger.log_at(time, level, &message, &fields)
                }
            }
            ParsedRecord::Error(error) => self.errors().log_at(
                time,
                &error.error_type,
                &error.error_message,
                &error.traceback,
                &error.context,
            ),
        }
    }

    /// The process ends with this exit code, after the attempt was ended as completed.
    pub fn correct_exit_code(&self, code: i32) {
        let attempt = self.core.attempt.lock();
        // Nothing more can be done if run.json cannot be written now.
        let _ = attempt.correct_exit_code(&self.core.dir, code);
    }

    /// How often a call had to wait because the queue of `buffered` was full.
    pub fn queue_waits(&self) -> u64 {
        self.core.queue.as_ref().map_or(0, Queue::waits)
    }

    /// Whether logging a row may wait: for the disk, or under `buffered` for room in the queue. A caller that holds a
    /// lock that others need releases it first.
    #[inline]
    pub fn may_wait(&self) -> bool {
        self.core.queue.as_ref().is_none_or(Queue::is_crowded)
    }

    pub(crate) fn core(&self) -> &Arc<RunCore> {
        &self.core
    }
}
