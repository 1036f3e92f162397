//! What is said on the console, and what becomes of an error.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Error, Result};

/// What happens when a record cannot be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It is counted, said once on standard error, and training goes on: the call returns `Ok`.
    #[default]
    Report,
    /// The call returns the error as well.
    Return,
}

/// Where lines for the console go.
#[derive(Clone, Default)]
pub enum Console {
    /// Standard error.
    #[default]
    Stderr,
    /// Nowhere.
    Silent,
    /// Whoever wants them, without a newline.
    Custom(Arc<dyn Fn(&str) + Send + Sync>),
}

/// Says what belongs on the console, and once that records could not be kept.
pub(super) struct Reporter {
    pub(super) console: Console,
    pub(super) on_error: OnError,
    pub(super) said: AtomicBool,
    /// Records that were lost for another reason than the storage: too large, or the component failed on
    /// them twice.
    pub(super) lost: AtomicU64,
}

impl Reporter {
    /// Put a line on the console. Nobody may be there to read it any more; that ends no training.
    pub(super) fn say(&self, line: &str) {
        match &self.console {
            Console::Stderr => {
                let _ = writeln!(std::io::stderr().lock(), "{line}");
            }
            Console::Silent => {}
            Console::Custom(say) => say(line),
        }
    }

    pub(super) fn judge<R: Default>(&self, result: Result<R>) -> Result<R> {
        match result {
            Err(error) if !matches!(error, Error::Invalid(_)) => {
                self.report(&error, 1);
                match self.on_error {
                    OnError::Report => Ok(R::default()),
                    OnError::Return => Err(error),
                }
            }
            result => result,
        }
    }

    /// Note that records could not be kept. What the storage refused is counted where it is held.
    pub(super) fn report(&self, error: &Error, records: u64) {
        if matches!(error, Error::Trap(_) | Error::TooLarge(_)) {
            self.lost.fetch_add(records, Ordering::Relaxed);
        }
        if !self.said.swap(true, Ordering::Relaxed) {
            self.say(&format!(
                "model-foundry: a record could not be kept at once ({error}); further failures are \
                 counted in run.json"
            ));
        }
    }
}
