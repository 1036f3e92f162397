use std::cell::RefCell;

use super::bindings::exports::model_foundry::logging::{config, performance as exported};
use super::{Component, Host, types};
use crate::performance::{Finished, Peaks, PerformanceLogger, Timings};
use crate::statistics::Statistics;
use types::Error;

impl exported::Guest for Component {
    type Logger = Logger;

    fn memory_peaks() -> Result<exported::Peaks, Error> {
        let peaks = Peaks::read(&Host)?;
        let gpus = peaks.gpus.into_iter().map(|gpu| exported::GpuPeak {
            name: gpu.name,
            uuid: gpu.uuid,
            used: gpu.used,
            process: gpu.process,
        });
        Ok(exported::Peaks {
            samples: peaks.samples,
            process_resident: peaks.process_resident,
            machine_used: peaks.machine_used,
            gpus: gpus.collect(),
        })
    }

    fn timings() -> Result<Vec<exported::Timing>, Error> {
        Ok(slowest_first(&Timings::read(&Host)?))
    }
}

pub(super) struct Logger(RefCell<PerformanceLogger<Host>>);

impl exported::GuestLogger for Logger {
    fn open(config: config::LoggingConfig) -> Result<exported::Logger, Error> {
        let logger = PerformanceLogger::open(&Host, &config.into())?;
        Ok(exported::Logger::new(Self(RefCell::new(logger))))
    }

    fn begin(&self, name: String) -> Result<u64, Error> {
        Ok(self.0.borrow_mut().begin(&name)?)
    }

    fn end(&self, block: u64, failed: bool) -> Result<exported::Finished, Error> {
        Ok(self.0.borrow_mut().end(block, failed)?.into())
    }

    fn record_duration(
        &self,
        name: String,
        seconds: f64,
        failed: bool,
    ) -> Result<exported::Finished, Error> {
        Ok(self.0.borrow_mut().record(&name, seconds, failed)?.into())
    }

    fn log_memory(&self, step: Option<u64>) -> Result<exported::MemorySample, Error> {
        let sample = self.0.borrow_mut().log_memory(step)?;
        Ok(exported::MemorySample {
            cpu: sample.cpu.map(Into::into),
            gpu: sample.gpu.map(Into::into),
            messages: sample.messages,
        })
    }

    fn statistics(&self, name: String) -> exported::Timing {
        let logger = self.0.borrow();
        timing(&name, logger.statistics(&name).unwrap_or(&Statistics::default()))
    }

    fn all_statistics(&self) -> Vec<exported::Timing> {
        slowest_first(self.0.borrow().timings())
    }

    fn reset(&self) {
        self.0.borrow_mut().reset();
    }

    fn export_report(&self) -> Result<(), Error> {
        Ok(self.0.borrow().export_report()?)
    }

    fn report(&self) -> String {
        self.0.borrow().report()
    }
}

impl From<Finished> for exported::Finished {
    fn from(finished: Finished) -> Self {
        Self { seconds: finished.seconds, message: finished.message }
    }
}

fn slowest_first(timings: &Timings) -> Vec<exported::Timing> {
    let all = timings.slowest_first();
    all.into_iter().map(|(name, statistics)| timing(name, statistics)).collect()
}

fn timing(name: &str, statistics: &Statistics) -> exported::Timing {
    let any = statistics.count > 0;
    exported::Timing {
        name: name.to_owned(),
        count: statistics.count,
        total: statistics.mean * statistics.count as f64,
        mean: statistics.mean,
        min: if any { statistics.min } else { 0.0 },
        max: if any { statistics.max } else { 0.0 },
        std: statistics.std(),
        p50: statistics.percentile(0.5),
        p95: statistics.percentile(0.95),
        p99: statistics.percentile(0.99),
    }
}
