//! The component without a run folder.

use std::path::{Path, PathBuf};

use model_foundry_guest::Field;
use model_foundry_guest::config::LoggingConfig;

use crate::Result;
use crate::bindings::exports::model_foundry::logging::metrics;
use crate::bindings::model_foundry::logging::files;
use crate::imports::Powers;
use crate::imports::clocks::Clock;
use crate::imports::files::Files;
use crate::manifest;
use crate::performance::MemorySample;
use crate::recorder::Recorder;
use crate::runtime::Runtime;
use crate::sampler::Sampler;
use crate::sandbox::Sandbox;
use crate::sync::Mutex;

/// The component for programs that have a log of their own: it puts records into words and takes memory
/// samples, and keeps nothing.
///
/// ```
/// use model_foundry::{Detached, Runtime, fields};
///
/// let detached = Detached::new(&Runtime::shared()?, None)?;
/// let line = detached.format("progress", &fields! { step: 10, step: 11 })?;
/// assert_eq!(line, r#"{"message":"progress","context":{"step":11}}"#);
/// # Ok::<(), model_foundry::Error>(())
/// ```
pub struct Detached {
    recorder: Mutex<Recorder>,
    sampler: Mutex<Sampler>,
    /// The number of the one logger, which has no context of its own.
    logger: usize,
    git_hash: String,
    device: String,
}

impl Detached {
    /// Start the component. `nvml` is the NVML library to load instead of the system's.
    ///
    /// # Errors
    ///
    /// [`Error::Component`](crate::Error::Component) if it cannot be started.
    pub fn new(runtime: &Runtime, nvml: Option<PathBuf>) -> Result<Self> {
        let sandbox = Sandbox::start(runtime, Powers::new(Files::discarding(), Clock::System))?;
        let options = metrics::Options {
            attempt: 1,
            part: files::Part { rank: None, rotated: 0 },
            wandb: None,
        };
        let mut recorder = Recorder::new(sandbox, &LoggingConfig::default(), options, None);
        let logger = recorder.add_logger("", Vec::new());
        let (sampler, device) = Sampler::new(nvml);
        Ok(Self {
            recorder: Mutex::new(recorder),
            sampler: Mutex::new(sampler),
            logger,
            git_hash: manifest::git_hash(Path::new(".")),
            device,
        })
    }

    /// A record as `{"message":…,"context":{…}}`. A later field of the same name wins.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn format(&self, message: &str, fields: &[Field]) -> Result<String> {
        self.recorder.lock().format(self.logger, message, fields)
    }

    /// Memory of this process, the machine and each GPU.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn sample_memory(&self) -> Result<MemorySample> {
        let sample = self.sampler.lock().sample(&[]);
        let mut recorder = self.recorder.lock();
        recorder.sandbox().powers()?.sample = Some(sample);
        recorder.performance(|logger, store, handle| logger.call_log_memory(store, handle, None))
    }

    /// A block's duration in words: "<name> completed in 0.0500s". `seconds` is 0 or more.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if the duration is negative or not finite.
    pub fn finished(&self, name: &str, seconds: f64, failed: bool) -> Result<String> {
        let mut recorder = self.recorder.lock();
        let finished = recorder.performance(|logger, store, handle| {
            logger.call_reset(&mut *store, handle)?;
            logger.call_record_duration(store, handle, name, seconds, failed)
        })?;
        Ok(finished.message)
    }

    /// The content of a timing_report.json: every operation's statistics, of these samples in seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if a sample is negative or not finite;
    /// [`Error::Limit`](crate::Error::Limit) if there are too many operations.
    pub fn timing_report(&self, timers: &[(String, Vec<f64>)]) -> Result<String> {
        let mut recorder = self.recorder.lock();
        recorder.performance(|logger, store, handle| {
            logger.call_reset(&mut *store, handle)?;
            for (name, samples) in timers {
                for seconds in samples {
                    let kept =
                        logger.call_record_duration(&mut *store, handle, name, *seconds, false)?;
                    if let Err(error) = kept {
                        return Ok(Err(error));
                    }
                }
            }
            Ok(Ok(logger.call_report(store, handle)?))
        })
    }

    /// The short commit of the code that runs, or "unknown" outside a repository.
    pub fn git_hash(&self) -> &str {
        &self.git_hash
    }

    /// "cuda:0 <name>", or "cpu".
    pub fn device(&self) -> &str {
        &self.device
    }
}
