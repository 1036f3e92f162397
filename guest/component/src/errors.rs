use std::cell::RefCell;

use model_foundry_guest::errors;
use model_foundry_types::{Error, ErrorEntry, ErrorReport, Field, TypeCount};

use crate::bindings::exports::model_foundry::logging::errors as exported;
use crate::{Component, Host};

impl exported::Guest for Component {
    type ErrorTracker = ErrorTracker;
    type ErrorReader = ErrorReader;
}

pub(crate) struct ErrorTracker(RefCell<errors::ErrorTracker<Host>>);

impl exported::GuestErrorTracker for ErrorTracker {
    fn open(max_errors: u32, rank: Option<u32>) -> Result<exported::ErrorTracker, Error> {
        let tracker = errors::ErrorTracker::open(&Host, max_errors, rank)?;
        Ok(exported::ErrorTracker::new(Self(RefCell::new(tracker))))
    }

    fn log_error(
        &self,
        error_type: String,
        error_message: String,
        traceback: String,
        context: Vec<Field>,
    ) -> Result<(), Error> {
        self.0.borrow_mut().log_error(&error_type, &error_message, &traceback, &context)
    }

    fn prepare(&self, max_bytes: u64) -> Result<bool, Error> {
        self.0.borrow_mut().advance(max_bytes)
    }

    fn summary(&self) -> Result<Vec<TypeCount>, Error> {
        self.0.borrow_mut().summary()
    }

    fn recent(&self, count: u32) -> Result<Vec<ErrorEntry>, Error> {
        self.0.borrow_mut().recent(count as usize)
    }

    fn reset_counts(&self) {
        self.0.borrow_mut().reset_counts();
    }
}

pub(crate) struct ErrorReader(RefCell<errors::ErrorReader<Host>>);

impl exported::GuestErrorReader for ErrorReader {
    fn open(count: u32) -> Result<exported::ErrorReader, Error> {
        let reader = errors::ErrorReader::open(&Host, count as usize)?;
        Ok(exported::ErrorReader::new(Self(RefCell::new(reader))))
    }

    fn prepare(&self, max_bytes: u64) -> Result<bool, Error> {
        self.0.borrow_mut().advance(max_bytes)
    }

    fn report(&self) -> Result<ErrorReport, Error> {
        self.0.borrow_mut().report()
    }
}
