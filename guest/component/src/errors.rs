use std::cell::RefCell;

use model_foundry_guest::errors;
use model_foundry_types::{Error, ErrorEntry, ErrorReport, Field, TypeCount};

use crate::bindings::exports::model_foundry::logging::errors as exported;
use crate::{Component, Host};

impl exported::Guest for Component {
    type ErrorTracker = ErrorTracker;

    fn read(count: u32) -> Result<ErrorReport, Error> {
        errors::read_report(&Host, count as usize)
    }
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

    fn summary(&self) -> Vec<TypeCount> {
        self.0.borrow().summary()
    }

    fn recent(&self, count: u32) -> Vec<ErrorEntry> {
        self.0.borrow().recent(count as usize)
    }

    fn reset_counts(&self) {
        self.0.borrow_mut().reset_counts();
    }
}
