//! The performance logger.

use std::sync::Arc;

use model_foundry_types::{Finished, Level, MemorySample, Timing};

use crate::Result;
use crate::api::structured::StructuredLogger;
use crate::recording::core::RunCore;

/// Records timings and memory samples in performance.jsonl. Clones are the same logger.
#[derive(Clone)]
pub struct PerformanceLogger {
    core: Arc<RunCore>,
}

impl std::fmt::Debug for PerformanceLogger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerformanceLogger").finish_non_exhaustive()
    }
}

impl PerformanceLogger {
    pub(crate) fn new(core: Arc<RunCore>) -> Self {
        Self { core }
    }

    /// Time a block, until the guard is dropped or ended. A block that panics is timed too, and marked as failed. A
    /// block that is left by `?` is not marked, because the guard cannot see that; [`time`](Self::time) can.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("model-foundry-doc-{}", std::process::id()));
    /// # let run = model_foundry::Run::open(&folder, "timed")?;
    /// let performance = run.performance();
    /// {
    ///     let _timed = performance.time_block("forward");
    ///     // … the forward pass …
    /// }
    /// assert_eq!(performance.statistics("forward")?.count, 1);
    /// # std::fs::remove_dir_all(folder).ok();
    /// # Ok::<(), model_foundry::Error>(())
    /// ```
    pub fn time_block(&self, name: &str) -> TimedBlock {
        // The clock is read before any lock is taken: the block does not include what other threads log.
        let (performance, name) = (self.clone(), name.to_owned());
        TimedBlock { performance, block: Some((name, self.core.monotonic())), log: None }
    }

    /// Time a block that may fail. It is marked as failed if it returns an error.
    ///
    /// # Errors
    ///
    /// Those of the block.
    pub fn time<T, E>(&self, name: &str, block: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let timed = self.time_block(name);
        let result = block();
        match &result {
            Ok(_) => timed.end(),
            Err(_) => timed.fail(),
        };
        result
    }

    /// Record a duration in seconds that was measured elsewhere, for example by CUDA events: a timed block on the host
    /// measures only the launch of work on a GPU.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if it is negative or not finite.
    pub fn record(&self, name: &str, seconds: f64) -> Result<()> {
        self.record_block(name, seconds, false).map(drop)
    }

    /// Record a duration in seconds of a block that may have failed. Returns the sentence for a log; `None` if the
    /// duration could not be written.
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record).
    pub fn record_block(&self, name: &str, seconds: f64, failed: bool) -> Result<Option<Finished>> {
        self.core.record(|guest| {
            let recorded = guest.performance(|logger, store, handle| {
                logger.call_record_duration(store, handle, name, seconds, failed)
            });
            recorded.map(Some)
        })
    }

    /// Sample memory of this process, the machine and each GPU. `step` is the training step. `None` if the sample could
    /// not be written.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`](crate::OnError::Return): if it could not be written.
    pub fn log_memory_usage(&self, step: Option<u64>) -> Result<Option<MemorySample>> {
        let sample = self.core.sample();
        self.core.record(|guest| {
            guest.sandbox().services()?.sample = Some(sample);
            let logged = guest
                .performance(|logger, store, handle| logger.call_log_memory(store, handle, step));
            logged.map(Some)
        })
    }

    /// The statistics of one operation, in seconds. An unknown operation has count 0.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn statistics(&self, name: &str) -> Result<Timing> {
        self.core.with(|guest| {
            guest.performance(|logger, store, handle| logger.call_statistics(store, handle, name))
        })
    }

    /// The statistics of all operations, the slowest in total first.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn all_statistics(&self) -> Result<Vec<Timing>> {
        self.core.with(|guest| {
            guest.performance(|logger, store, handle| logger.call_all_statistics(store, handle))
        })
    }

    /// Discard the timings in memory; performance.jsonl stays.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn reset_timers(&self) -> Result<()> {
        self.core.with(|guest| {
            guest.performance(|logger, store, handle| Ok(Ok(logger.call_reset(store, handle)?)))
        })
    }

    /// Write timing_report.json in the run folder: every operation's statistics, whole or not at all. A run also writes
    /// it when it ends.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`](crate::Error::Storage) if it cannot be written.
    pub fn export_timing_report(&self) -> Result<()> {
        self.core.with(|guest| {
            guest.performance(|logger, store, handle| logger.call_export_report(store, handle))
        })
    }
}

/// A block that is being timed.
#[must_use = "the block ends when this is dropped"]
pub struct TimedBlock {
    performance: PerformanceLogger,
    /// Its name and the clock's reading at its beginning; none once it has ended.
    block: Option<(String, u64)>,
    log: Option<(StructuredLogger, Level)>,
}

impl std::fmt::Debug for TimedBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimedBlock").finish_non_exhaustive()
    }
}

impl TimedBlock {
    /// Log `<name> completed in 0.0500s` at this level when it ends.
    pub fn log_to(mut self, logger: &StructuredLogger, level: Level) -> Self {
        self.log = Some((logger.clone(), level));
        self
    }

    /// End it now. Returns its seconds; `None` if the duration could not be written.
    pub fn end(mut self) -> Option<f64> {
        self.finish(false)
    }

    /// End it as failed. Returns its seconds; `None` if the duration could not be written.
    pub fn fail(mut self) -> Option<f64> {
        self.finish(true)
    }

    fn finish(&mut self, failed: bool) -> Option<f64> {
        let (name, began) = self.block.take()?;
        let core = &self.performance.core;
        let seconds = core.monotonic().saturating_sub(began) as f64 / 1e9;
        // A duration that could not be written has been counted; a guard cannot return an error.
        let finished = self.performance.record_block(&name, seconds, failed).ok().flatten()?;
        if let Some((logger, level)) = &self.log {
            let _ = logger.log(*level, &finished.message, &[]);
        }
        Some(finished.seconds)
    }
}

impl Drop for TimedBlock {
    fn drop(&mut self) {
        self.finish(std::thread::panicking());
    }
}
