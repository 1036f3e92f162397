use std::cell::RefCell;

use super::bindings::exports::model_foundry::logging::{config, structured as exported};
use super::{Component, Host, fields_from, types};
use crate::packed::Packed;
use crate::structured::StructuredLogger;

impl exported::Guest for Component {
    type Logger = Logger;
}

pub(super) struct Logger(RefCell<StructuredLogger<Host>>);

impl exported::GuestLogger for Logger {
    fn new(name: String, config: config::LoggingConfig, context: Vec<types::Field>) -> Self {
        let context = fields_from(context);
        Self(RefCell::new(StructuredLogger::new(&Host, &name, &config.into(), context)))
    }

    fn log(
        &self,
        time: u64,
        level: types::Level,
        message: u32,
        texts: String,
        fields: Vec<u64>,
    ) -> Result<Option<String>, types::Error> {
        let (message, fields) = Packed::open(message, &texts, &fields)?;
        Ok(self.0.borrow_mut().log(time, level.into(), message, fields)?)
    }

    fn format(
        &self,
        message: u32,
        texts: String,
        fields: Vec<u64>,
    ) -> Result<String, types::Error> {
        let (message, fields) = Packed::open(message, &texts, &fields)?;
        Ok(self.0.borrow().format(message, fields))
    }

    fn update_context(&self, fields: Vec<types::Field>) {
        self.0.borrow_mut().update_context(fields_from(fields));
    }

    fn clear_context_field(&self, name: String) {
        self.0.borrow_mut().clear_context_field(&name);
    }
}
