//! The component without a run folder.

use std::path::{Path, PathBuf};

use model_foundry_types::{Field, LoggingConfig, MemorySample, Options, Timing};

use crate::Result;
use crate::engine::runtime::Runtime;
use crate::engine::sandbox::Sandbox;
use crate::process::mutex::Mutex;
use crate::process::origin::Commit;
use crate::recording::guest_loggers::GuestLoggers;
use crate::services::HostServices;
use crate::services::clocks::Clock;
use crate::services::files::Files;
use crate::services::sampler::Sampler;

/// The component for programs that have a log of their own: it formats records, computes statistics and takes memory
/// samples, and writes nothing.
///
/// ```
/// use model_foundry::{Standalone, Runtime, fields};
///
/// let standalone = Standalone::new(&Runtime::shared()?, None)?;
/// let line = standalone.format("progress", &fields! { step: 10, step: 11 })?;
/// assert_eq!(line, r#"{"message":"progress","context":{"step":11}}"#);
/// # Ok::<(), model_foundry::Error>(())
/// ```
pub struct Standalone {
    guest: Mutex<GuestLoggers>,
    sampler: Mutex<Sampler>,
    /// The number of the only logger, which has no base context.
    logger: usize,
    git_hash: String,
    device: String,
}

impl std::fmt::Debug for Standalone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standalone").finish_non_exhaustive()
    }
}

impl Standalone {
    /// Start the component. `nvml` is the NVML library to load instead of the system's.
    ///
    /// # Errors
    ///
    /// [`Error::Component`](crate::Error::Component) if it cannot be started.
    pub fn new(runtime: &Runtime, nvml: Option<PathBuf>) -> Result<Self> {
        let sandbox =
            Sandbox::start(runtime, HostServices::new(Files::discarding(), Clock::System))?;
        let config = LoggingConfig::default();
        let mut guest = GuestLoggers::new(sandbox, &config, Options::default(), None);
        let logger = guest.add_logger("", Vec::new());
        let (sampler, device) = Sampler::new(nvml);
        Ok(Self {
            guest: Mutex::new(guest),
            sampler: Mutex::new(sampler),
            logger,
            git_hash: Commit::of(Path::new(".")).hash,
            device,
        })
    }

    /// A record as `{"message":…,"context":{…}}`. Of several fields with the same name the last one counts.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn format(&self, message: &str, fields: &[Field]) -> Result<String> {
        self.guest.lock().format(self.logger, message, fields)
    }

    /// Memory of this process, the machine and each GPU.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn sample_memory(&self) -> Result<MemorySample> {
        let sample = self.sampler.lock().sample(&[]);
        let mut guest = self.guest.lock();
        guest.sandbox().services()?.sample = Some(sample);
        guest.performance(|logger, store, handle| logger.call_log_memory(store, handle, None))
    }

    /// A block's duration as a sentence: `<name> completed in 0.0500s`. `seconds` is 0 or more.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if the duration is negative or not finite.
    pub fn finished(&self, name: &str, seconds: f64, failed: bool) -> Result<String> {
        let mut guest = self.guest.lock();
        let finished = guest.performance(|logger, store, handle| {
            logger.call_reset(&mut *store, handle)?;
            logger.call_record_duration(store, handle, name, seconds, failed)
        })?;
        Ok(finished.message)
    }

    /// The content of a timing_report.json: the statistics of each operation's samples, in seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if a sample is negative or not finite;
    /// [`Error::Limit`](crate::Error::Limit) if there are too many operations.
    pub fn timing_report(&self, timers: &[(String, Vec<f64>)]) -> Result<String> {
        let mut guest = self.guest.lock();
        guest.performance(|logger, store, handle| {
            logger.call_reset(&mut *store, handle)?;
            for (name, samples) in timers {
                let counted = logger.call_count_durations(&mut *store, handle, name, samples)?;
                if let Err(error) = counted {
                    return Ok(Err(error));
                }
            }
            logger.call_report(store, handle)
        })
    }

    /// The statistics of these samples, in seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if a sample is negative or not finite.
    pub fn timing(&self, samples: &[f64]) -> Result<Timing> {
        self.guest.lock().performance(|logger, store, handle| {
            logger.call_reset(&mut *store, handle)?;
            let counted = logger.call_count_durations(&mut *store, handle, "", samples)?;
            if let Err(error) = counted {
                return Ok(Err(error));
            }
            logger.call_statistics(store, handle, "")
        })
    }

    /// The short commit of the code that runs, or "unknown" outside a repository.
    pub fn git_hash(&self) -> &str {
        &self.git_hash
    }

    /// `cuda:0 <name>`, or `cpu`.
    pub fn device(&self) -> &str {
        &self.device
    }
}
