use std::cell::RefCell;
use std::rc::Rc;

use model_foundry_guest::metrics;
use model_foundry_types::{
    Damage, Error, Field, NamedStatistics, Omitted, Options, Purpose, Query, Row, Series,
    Statistics, StepOrigin,
};

use crate::bindings::exports::model_foundry::logging::metrics as exported;
use crate::{Component, Host};

impl exported::Guest for Component {
    type MetricsLogger = MetricsLogger;
    type MetricsReader = MetricsReader;
}

pub(crate) struct MetricsLogger(pub(crate) Rc<RefCell<metrics::MetricsLogger<Host>>>);

impl exported::GuestMetricsLogger for MetricsLogger {
    fn open(options: Options) -> Result<exported::MetricsLogger, Error> {
        let logger = metrics::MetricsLogger::open(&Host, &options)?;
        Ok(exported::MetricsLogger::new(Self(Rc::new(RefCell::new(logger)))))
    }

    fn log_step(
        &self,
        step: u64,
        epoch: Option<f64>,
        metrics: Vec<Field>,
        origin: StepOrigin,
    ) -> Result<(), Error> {
        self.0.borrow_mut().log_step(step, epoch, &metrics, origin)
    }

    fn log_epoch_summary(&self, epoch: f64, summary: Vec<Field>) -> Result<(), Error> {
        self.0.borrow_mut().log_epoch_summary(epoch, &summary)
    }

    fn log_lines(&self, lines: String) -> Result<(), Error> {
        self.0.borrow_mut().log_lines(&lines)
    }

    fn prepare(&self, max_bytes: u64) -> Result<bool, Error> {
        self.0.borrow_mut().advance(max_bytes)
    }

    fn statistics(&self, name: String) -> Result<Statistics, Error> {
        Ok(self.0.borrow_mut().statistics(&name)?.summary())
    }

    fn all_statistics(&self) -> Result<Vec<NamedStatistics>, Error> {
        Ok(self.0.borrow_mut().all_statistics()?.named())
    }

    fn last_step(&self) -> Result<Option<u64>, Error> {
        self.0.borrow_mut().last_step()
    }

    fn flush(&self) -> Result<(), Error> {
        self.0.borrow_mut().flush()
    }

    fn close(&self, exit_code: i32) -> Result<(), Error> {
        self.0.borrow_mut().close(exit_code)
    }

    fn save_index(&self, max_bytes: u64) -> Result<bool, Error> {
        self.0.borrow_mut().save_index(max_bytes)
    }
}

pub(crate) struct MetricsReader(RefCell<metrics::MetricsReader<Host>>);

impl exported::GuestMetricsReader for MetricsReader {
    fn open(query: Query) -> Result<exported::MetricsReader, Error> {
        let reader = metrics::MetricsReader::open(&Host, query)?;
        Ok(exported::MetricsReader::new(Self(RefCell::new(reader))))
    }

    fn prepare(&self, purpose: Purpose, max_bytes: u64) -> Result<bool, Error> {
        self.0.borrow_mut().advance(purpose, max_bytes)
    }

    fn next_rows(&self, count: u32) -> Result<Option<Vec<Row>>, Error> {
        self.0.borrow_mut().next_rows(count as usize)
    }

    fn next_lines(&self, max_bytes: u32) -> Result<Option<String>, Error> {
        self.0.borrow_mut().next(max_bytes as usize)
    }

    fn last_step(&self) -> Result<Option<u64>, Error> {
        self.0.borrow_mut().last_step()
    }

    fn statistics(&self, names: Vec<String>) -> Result<Vec<NamedStatistics>, Error> {
        Ok(self.0.borrow_mut().statistics(&names)?.named())
    }

    fn overview(&self, points: u32) -> Result<(Vec<NamedStatistics>, Vec<Series>), Error> {
        let (statistics, buckets) = self.0.borrow_mut().overview(points as usize)?;
        Ok((statistics.named(), buckets.iter().map(metrics::MetricBuckets::series).collect()))
    }

    fn damage(&self) -> Damage {
        self.0.borrow().damage()
    }

    fn omitted(&self) -> Omitted {
        self.0.borrow().omitted()
    }
}
