//! The performance logger.

use model_foundry_guest::Level;

use crate::Result;
pub use crate::bindings::exports::model_foundry::logging::performance::{
    Finished, GpuPeak, MemorySample, Peaks, Timing,
};
use crate::run::Run;
use crate::structured::StructuredLogger;

/// Keeps timings and takes memory samples, in performance.jsonl. Clones are the same logger.
#[derive(Clone)]
pub struct PerformanceLogger {
    run: Run,
}

impl PerformanceLogger {
    pub(crate) fn new(run: Run) -> Self {
        Self { run }
    }

    /// Time a block: until the guard is dropped, or ended. A block that panics is timed too, and marked as
    /// failed; one that is left by `?` is not, as the guard cannot see that: [`time`](Self::time) can.
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
        // The clock is read on this side, before any lock: what others log is no part of the block.
        let (performance, name) = (self.clone(), name.to_owned());
        TimedBlock { performance, block: Some((name, self.run.monotonic())), log: None }
    }

    /// Time a block that may fail: it is marked as failed where it returns an error.
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

    /// Keep a duration that was measured elsewhere, in seconds: a CUDA event's, say, since a block on the
    /// host measures only the launch of what runs on a GPU.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if it is negative or not finite.
    pub fn record(&self, name: &str, seconds: f64) -> Result<()> {
        self.record_block(name, seconds, false).map(drop)
    }

    /// Keep a duration that was measured elsewhere, in seconds, of a block that may have failed; what it
    /// is called in a log. None if it could not be kept.
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record).
    pub fn record_block(&self, name: &str, seconds: f64, failed: bool) -> Result<Option<Finished>> {
        self.run.keep(|recorder| {
            let kept = recorder.performance(|logger, store, handle| {
                logger.call_record_duration(store, handle, name, seconds, failed)
            });
            kept.map(Some)
        })
    }

    /// Sample memory: this process', the machine's, and each GPU's. `step` is the training step. None if
    /// the sample could not be kept.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`](crate::OnError::Return): if it could not be kept.
    pub fn log_memory_usage(&self, step: Option<u64>) -> Result<Option<MemorySample>> {
        let sample = self.run.sample();
        self.run.keep(|recorder| {
            recorder.sandbox().powers()?.sample = Some(sample);
            let logged = recorder
                .performance(|logger, store, handle| logger.call_log_memory(store, handle, step));
            logged.map(Some)
        })
    }

    /// The statistics of one operation, in seconds. An unknown one has count 0.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn statistics(&self, name: &str) -> Result<Timing> {
        self.run.with(|recorder| {
            recorder.performance(|logger, store, handle| {
                Ok(Ok(logger.call_statistics(store, handle, name)?))
            })
        })
    }

    /// The statistics of all operations, the one that took longest in total first.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn all_statistics(&self) -> Result<Vec<Timing>> {
        self.run.with(|recorder| {
            recorder.performance(|logger, store, handle| {
                Ok(Ok(logger.call_all_statistics(store, handle)?))
            })
        })
    }

    /// Forget the timings; performance.jsonl stays.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn reset_timers(&self) -> Result<()> {
        self.run.with(|recorder| {
            recorder.performance(|logger, store, handle| Ok(Ok(logger.call_reset(store, handle)?)))
        })
    }

    /// Write timing_report.json in the run folder: every operation's statistics, whole or not at all. A
    /// run also writes it when it ends.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`](crate::Error::Storage) if it cannot be written.
    pub fn export_timing_report(&self) -> Result<()> {
        self.run.with(|recorder| {
            recorder.performance(|logger, store, handle| logger.call_export_report(store, handle))
        })
    }
}

/// A block that is being timed.
#[must_use = "the block ends when this is dropped"]
pub struct TimedBlock {
    performance: PerformanceLogger,
    /// Its name and the clock's reading when it began; none where it has ended.
    block: Option<(String, u64)>,
    log: Option<(StructuredLogger, Level)>,
}

impl TimedBlock {
    /// Say "<name> completed in 0.0500s" when it ends, at this level.
    pub fn log_to(mut self, logger: &StructuredLogger, level: Level) -> Self {
        self.log = Some((logger.clone(), level));
        self
    }

    /// End it now; its seconds, or none if it could not be timed.
    pub fn end(mut self) -> Option<f64> {
        self.finish(false)
    }

    /// End it as failed; its seconds, or none if it could not be timed.
    pub fn fail(mut self) -> Option<f64> {
        self.finish(true)
    }

    fn finish(&mut self, failed: bool) -> Option<f64> {
        let (name, began) = self.block.take()?;
        let run = &self.performance.run;
        let seconds = run.monotonic().saturating_sub(began) as f64 / 1e9;
        // What could not be kept has been counted: a guard has nobody to return an error to.
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
