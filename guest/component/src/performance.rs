use std::cell::RefCell;

use model_foundry_guest::{config, performance};
use model_foundry_types::{Error, Finished, MemorySample, Peaks, Timing};

use crate::bindings::exports::model_foundry::logging::performance as exported;
use crate::{Component, Host};

impl exported::Guest for Component {
    type PerformanceLogger = PerformanceLogger;
    type PerformanceReader = PerformanceReader;
}

pub(crate) struct PerformanceLogger(RefCell<performance::PerformanceLogger<Host>>);

impl exported::GuestPerformanceLogger for PerformanceLogger {
    fn open(config: String) -> Result<exported::PerformanceLogger, Error> {
        let config = config::parse_for_logger(&config)?;
        let logger = performance::PerformanceLogger::open(&Host, &config)?;
        Ok(exported::PerformanceLogger::new(Self(RefCell::new(logger))))
    }

    fn prepare(&self, max_bytes: u64) -> Result<bool, Error> {
        self.0.borrow_mut().advance(max_bytes)
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

    fn statistics(&self, name: String) -> Result<Timing, Error> {
        self.0.borrow_mut().statistics(&name)
    }

    fn all_statistics(&self) -> Result<Vec<Timing>, Error> {
        self.0.borrow_mut().all_statistics()
    }

    fn reset(&self) {
        self.0.borrow_mut().reset();
    }

    fn export_report(&self) -> Result<(), Error> {
        self.0.borrow_mut().export_report()
    }

    fn report(&self) -> Result<String, Error> {
        self.0.borrow_mut().report()
    }
}

pub(crate) struct PerformanceReader(RefCell<performance::PerformanceReader<Host>>);

impl exported::GuestPerformanceReader for PerformanceReader {
    fn open() -> Result<exported::PerformanceReader, Error> {
        let reader = performance::PerformanceReader::open(&Host)?;
        Ok(exported::PerformanceReader::new(Self(RefCell::new(reader))))
    }

    fn prepare(&self, max_bytes: u64) -> Result<bool, Error> {
        self.0.borrow_mut().advance(max_bytes)
    }

    fn memory_peaks(&self) -> Result<Peaks, Error> {
        Ok(self.0.borrow_mut().read()?.1.clone())
    }

    fn timings(&self) -> Result<Vec<Timing>, Error> {
        Ok(self.0.borrow_mut().read()?.0.slowest_first())
    }
}
