use std::cell::RefCell;
use std::rc::Rc;

use model_foundry_guest::imports::Imports as _;
use model_foundry_guest::value::each;
use model_foundry_guest::{config, structured};
use model_foundry_types::{Error, Field, Level};

use crate::bindings::exports::model_foundry::logging::structured as exported;
use crate::hot_path::{LOGGERS, Slots as _};
use crate::{Component, Host};

impl exported::Guest for Component {
    type StructuredLogger = StructuredLogger;
}

pub(crate) struct StructuredLogger {
    logger: Rc<RefCell<structured::StructuredLogger<Host>>>,
    /// The id of the hot path.
    pub(crate) id: u32,
}

impl exported::GuestStructuredLogger for StructuredLogger {
    fn open(
        name: String,
        config: String,
        context: Vec<Field>,
    ) -> Result<exported::StructuredLogger, Error> {
        let config = config::parse_for_logger(&config)?;
        let logger = structured::StructuredLogger::new(&Host, &name, &config, context);
        let logger = Rc::new(RefCell::new(logger));
        let id = LOGGERS.with_borrow_mut(|loggers| loggers.put(&logger, ()));
        Ok(exported::StructuredLogger::new(Self { logger, id }))
    }

    fn log(&self, level: Level, message: String, fields: Vec<Field>) -> Result<(), Error> {
        self.logger.borrow_mut().log(Host.now(), level, &message, each(&fields))
    }
}
