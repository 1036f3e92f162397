use std::cell::RefCell;
use std::rc::{Rc, Weak};

use model_foundry_guest::metrics::MetricsLogger;
use model_foundry_guest::structured::StructuredLogger;
use model_foundry_types::packed::Packed;
use model_foundry_types::{Column, Error, Level};

use crate::bindings::exports::model_foundry::logging::hot_path as exported;
use crate::bindings::exports::model_foundry::logging::metrics::MetricsLoggerBorrow;
use crate::bindings::exports::model_foundry::logging::structured::StructuredLoggerBorrow;
use crate::{Component, Host};

/// A logger by its id, with what else the id means.
type Slot<L, T> = (Weak<RefCell<L>>, T);

thread_local! {
    /// The column sets of all metrics loggers: each with its logger, and its id there.
    static COLUMN_SETS: RefCell<Vec<Slot<MetricsLogger<Host>, u32>>> =
        const { RefCell::new(Vec::new()) };
    /// The structured loggers.
    pub(crate) static LOGGERS: RefCell<Vec<Slot<StructuredLogger<Host>, ()>>> =
        const { RefCell::new(Vec::new()) };
    /// Why the latest call without an error of its own failed.
    static REFUSED: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// Loggers by id.
pub(crate) trait Slots<L, T> {
    /// The id of a logger and what else the id means. The slot of a logger that was dropped is reused.
    fn put(&mut self, logger: &Rc<RefCell<L>>, value: T) -> u32;
}

impl<L, T: PartialEq> Slots<L, T> for Vec<Slot<L, T>> {
    fn put(&mut self, logger: &Rc<RefCell<L>>, value: T) -> u32 {
        let logger = Rc::downgrade(logger);
        let known = |(other, of): &Slot<L, T>| other.ptr_eq(&logger) && *of == value;
        let free = |(other, _): &Slot<L, T>| other.strong_count() == 0;
        let id = self.iter().position(known).or_else(|| self.iter().position(free));
        let id = id.unwrap_or(self.len());
        match self.get_mut(id) {
            Some(slot) => *slot = (logger, value),
            None => self.push((logger, value)),
        }
        id as u32
    }
}

/// Call the metrics logger of a column set, with the set's id there.
fn with_column_set<R>(
    id: u32,
    call: impl FnOnce(&mut MetricsLogger<Host>, u32) -> Result<R, Error>,
) -> Result<R, Error> {
    COLUMN_SETS.with_borrow(|sets| {
        let slot = sets.get(id as usize);
        let Some((Some(logger), own)) = slot.map(|(logger, own)| (logger.upgrade(), *own)) else {
            return Err(Error::Invalid(format!("no column set has the id {id}")));
        };
        call(&mut logger.borrow_mut(), own)
    })
}

/// Call a structured logger with a message and fields.
fn with_record<R>(
    id: u32,
    message: u32,
    texts: &str,
    fields: &[u64],
    call: impl FnOnce(&mut StructuredLogger<Host>, &str, Packed<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    LOGGERS.with_borrow(|loggers| {
        let logger = loggers.get(id as usize).and_then(|(logger, ())| logger.upgrade());
        let logger = logger.ok_or_else(|| Error::Invalid(format!("no logger has the id {id}")))?;
        let (message, fields) = Packed::open(message, texts, fields)?;
        call(&mut logger.borrow_mut(), message, fields)
    })
}

fn refuse(error: Error) {
    REFUSED.set(Some(error));
}

impl exported::Guest for Component {
    fn column_set(logger: MetricsLoggerBorrow<'_>, columns: Vec<Column>) -> Result<u32, Error> {
        let logger = &logger.get::<crate::metrics::MetricsLogger>().0;
        let own = logger.borrow_mut().column_set(columns)?;
        Ok(COLUMN_SETS.with_borrow_mut(|sets| sets.put(logger, own)))
    }

    fn log_row(
        column_set: u32,
        time: u64,
        step: u64,
        epoch: f64,
        values: exported::ShortRow,
    ) -> Result<(), ()> {
        let exported::ShortRow { v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11 } = values;
        let values = [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11];
        let logged = with_column_set(column_set, |logger, own| {
            let Some(values) = values.get(..logger.width(own)?) else {
                let most = values.len();
                return Err(Error::Invalid(format!("a short row has at most {most} columns")));
            };
            logger.log_row(own, time, step, epoch, values)
        });
        logged.map_err(refuse)
    }

    fn log_rows(
        column_set: u32,
        times: Vec<u64>,
        steps: Vec<u64>,
        epochs: Vec<f64>,
        values: Vec<f64>,
    ) -> Result<(), Error> {
        with_column_set(column_set, |logger, own| {
            logger.log_rows(own, &times, &steps, &epochs, &values)
        })
    }

    fn logger_id(logger: StructuredLoggerBorrow<'_>) -> u32 {
        logger.get::<crate::structured::StructuredLogger>().id
    }

    fn log_record(
        logger: u32,
        time: u64,
        level: Level,
        message: u32,
        texts: String,
        fields: Vec<u64>,
    ) -> Result<(), ()> {
        let logged = with_record(logger, message, &texts, &fields, |logger, message, fields| {
            logger.log(time, level, message, fields)
        });
        logged.map_err(refuse)
    }

    fn record_text(
        logger: u32,
        time: u64,
        level: Level,
        message: u32,
        texts: String,
        fields: Vec<u64>,
    ) -> Result<String, Error> {
        with_record(logger, message, &texts, &fields, |logger, message, fields| {
            Ok(logger.text(time, level, message, fields))
        })
    }

    fn record_json(
        logger: u32,
        message: u32,
        texts: String,
        fields: Vec<u64>,
    ) -> Result<String, Error> {
        with_record(logger, message, &texts, &fields, |logger, message, fields| {
            Ok(logger.format(message, fields))
        })
    }

    fn why_refused() -> Option<Error> {
        REFUSED.take()
    }
}
