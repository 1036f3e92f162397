use std::cell::RefCell;

use model_foundry_guest::{config, performance};
use model_foundry_types::{Error, Finished, MemorySample, Peaks, Timing};

use crate::bindings::exports::model_foundry::logging::performance as exported;
use crate::{Component, Host};

impl exported::Guest for Component {
    type PerformanceLogger = PerformanceLogger;

    fn memory_peaks() -> Result<Peaks, Error> {
        performance::memory_peaks(&Host)
    }

    fn timings() -> Result<Vec<Timing>, Error> {
        Ok(performance::Timings::read(&Host)?.slowest_first())
    }
}

pub(crate) struct PerformanceLogger(RefCell<performance::PerformanceLogger<Host>>);

impl exported::GuestPerformanceLogger for PerformanceLogger {
    fn open(config: String) -> Result<exported::PerformanceLogger, Error> {
        let config = config::parse_for_logger(&config)?;
        let logger = performance::PerformanceLogger::open(&Host, &config)?;
        Ok(exported::PerformanceLogger::new(Self(RefCell::new(logger))))
    }

    fn record_duration(&self, name: String, seconds: f64, failed: bool) -> Result<Finished, Error> {
        self.0.borrow_mut().record(&name, seconds, failed)
    }

    fn count_durations(&self, name: String, seconds: Vec<f64>) -> Result<(), Error> {
        self.0.borrow_mut().count(&name, &seconds)
    }

    fn log_memory(&self, step: Option<u64>) -> Result<MemorySample, Error> {
        self.0.borrow_mut().log_memory(step)
    }

    fn statistics(&self, name: String) -> Timing {
        self.0.borrow().statistics(&name)
    }

    fn all_statistics(&self) -> Vec<Timing> {
        self.0.borrow().all_statistics()
    }

    fn reset(&self) {
        self.0.borrow_mut().reset();
    }

    fn export_report(&self) -> Result<(), Error> {
        self.0.borrow().export_report()
    }

    fn report(&self) -> String {
        self.0.borrow().report()
    }
}
