use std::cell::RefCell;

use super::bindings::exports::model_foundry::logging::errors as exported;
use super::{Component, Host, fields_from, types};
use crate::errors::{ErrorEntry, ErrorReport, ErrorTracker};
use types::{Error, Field};

impl exported::Guest for Component {
    type Tracker = Tracker;

    fn read(count: u32) -> Result<exported::Report, Error> {
        let report = ErrorReport::read(&Host, count as usize)?;
        Ok(exported::Report {
            counts: counts(report.counts.most_frequent_first()),
            first: report.first.map(Into::into),
            recent: report.recent.into_iter().map(Into::into).collect(),
            damaged_lines: report.damaged_lines,
        })
    }
}

pub(super) struct Tracker(RefCell<ErrorTracker<Host>>);

impl exported::GuestTracker for Tracker {
    fn open(max_errors: u32, rank: Option<u32>) -> Result<exported::Tracker, Error> {
        let tracker = ErrorTracker::open(&Host, max_errors, rank)?;
        Ok(exported::Tracker::new(Self(RefCell::new(tracker))))
    }

    fn log_error(
        &self,
        error_type: String,
        error_message: String,
        traceback: String,
        context: Vec<Field>,
    ) -> Result<(), Error> {
        let context = fields_from(context);
        let mut tracker = self.0.borrow_mut();
        Ok(tracker.log_error(&error_type, &error_message, &traceback, &context)?)
    }

    fn summary(&self) -> Vec<exported::TypeCount> {
        counts(self.0.borrow().summary())
    }

    fn recent(&self, count: u32) -> Vec<exported::Entry> {
        self.0.borrow().recent(count as usize).into_iter().map(Into::into).collect()
    }

    fn reset_counts(&self) {
        self.0.borrow_mut().reset_counts();
    }
}

fn counts(counts: Vec<(&str, u64)>) -> Vec<exported::TypeCount> {
    counts
        .into_iter()
        .map(|(error_type, count)| exported::TypeCount { error_type: error_type.to_owned(), count })
        .collect()
}

impl From<ErrorEntry> for exported::Entry {
    fn from(entry: ErrorEntry) -> Self {
        Self {
            timestamp: entry.timestamp,
            error_type: entry.error_type,
            error_message: entry.error_message,
            traceback: entry.traceback,
            context: entry.context,
            rank: entry.rank,
        }
    }
}
