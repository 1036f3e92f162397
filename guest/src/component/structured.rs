use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::bindings::exports::model_foundry::logging::{config, structured as exported};
use super::{Component, Host, fields_from, put, types};
use crate::packed::Packed;
use crate::structured::StructuredLogger;

impl exported::Guest for Component {
    type Logger = Logger;

    fn log(
        logger: u32,
        time: u64,
        level: types::Level,
        message: u32,
        texts: String,
        fields: Vec<u64>,
    ) -> Result<(), ()> {
        let logged = LOGGERS.with_borrow(|loggers| {
            let Some(logger) = loggers.get(logger as usize).and_then(Weak::upgrade) else {
                return Err(crate::Error::Invalid(format!(
                    "there is no logger of number {logger}"
                )));
            };
            let (message, fields) = Packed::open(message, &texts, &fields)?;
            logger.borrow_mut().log(time, level.into(), message, fields)
        });
        logged.map_err(|error| REFUSED.set(Some(error)))
    }

    fn why_refused() -> Option<types::Error> {
        REFUSED.take().map(Into::into)
    }
}

thread_local! {
    /// The loggers by number.
    static LOGGERS: RefCell<Vec<Weak<RefCell<StructuredLogger<Host>>>>> =
        const { RefCell::new(Vec::new()) };
    /// Why the latest record was refused.
    static REFUSED: RefCell<Option<crate::Error>> = const { RefCell::new(None) };
}

pub(super) struct Logger {
    logger: Rc<RefCell<StructuredLogger<Host>>>,
    number: u32,
}

impl exported::GuestLogger for Logger {
    fn new(name: String, config: config::LoggingConfig, context: Vec<types::Field>) -> Self {
        let context = fields_from(context);
        let logger = StructuredLogger::new(&Host, &name, &config.into(), context);
        let logger = Rc::new(RefCell::new(logger));
        let number = LOGGERS.with_borrow_mut(|loggers| {
            // The place of a logger that is gone serves again.
            let free = loggers.iter().position(|logger| logger.strong_count() == 0);
            put(loggers, free, Rc::downgrade(&logger))
        });
        Self { logger, number }
    }

    fn number(&self) -> u32 {
        self.number
    }

    fn text(
        &self,
        time: u64,
        level: types::Level,
        message: u32,
        texts: String,
        fields: Vec<u64>,
    ) -> Result<String, types::Error> {
        let (message, fields) = Packed::open(message, &texts, &fields)?;
        Ok(self.logger.borrow_mut().text(time, level.into(), message, fields))
    }

    fn format(
        &self,
        message: u32,
        texts: String,
        fields: Vec<u64>,
    ) -> Result<String, types::Error> {
        let (message, fields) = Packed::open(message, &texts, &fields)?;
        Ok(self.logger.borrow().format(message, fields))
    }

    fn update_context(&self, fields: Vec<types::Field>) {
        self.logger.borrow_mut().update_context(fields_from(fields));
    }

    fn clear_context_field(&self, name: String) {
        self.logger.borrow_mut().clear_context_field(&name);
    }
}
