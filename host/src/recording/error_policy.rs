//! What happens to an error of a call, and where lines for the console go.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Error, Result};

/// What happens when a record cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The failure is counted and reported once on standard error. The call returns `Ok`, and training continues.
    #[default]
    Report,
    /// The call returns the error as well.
    Return,
}

/// Where lines for the console go.
#[derive(Clone, Default)]
pub enum Console {
    /// To standard error.
    #[default]
    Stderr,
    /// Nowhere.
    Silent,
    /// To a function, without a newline.
    Custom(Arc<dyn Fn(&str) + Send + Sync>),
    /// Log records nowhere, but what failed to a function, without a newline.
    Failures(Arc<dyn Fn(&str) + Send + Sync>),
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stderr => "Stderr",
            Self::Silent => "Silent",
            Self::Custom(_) => "Custom(…)",
            Self::Failures(_) => "Failures(…)",
        })
    }
}

/// Prints lines for the console, and decides what a caller learns of an error.
pub(crate) struct ErrorPolicy {
    console: Console,
    on_error: OnError,
    warned: AtomicBool,
    /// Records that were lost for another reason than the storage: they were too large, or the component failed on
    /// them twice.
    lost: AtomicU64,
}

impl ErrorPolicy {
    pub(crate) fn new(console: Console, on_error: OnError) -> Self {
        Self { console, on_error, warned: false.into(), lost: 0.into() }
    }

    /// How many records were lost for another reason than the storage.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Print a line on the console. A console that is gone does not stop training.
    pub(crate) fn print(&self, line: &str) {
        match &self.console {
            Console::Stderr => {
                let _ = writeln!(std::io::stderr().lock(), "{line}");
            }
            Console::Silent | Console::Failures(_) => {}
            Console::Custom(print) => print(line),
        }
    }

    pub(crate) fn console(&self) -> &Console {
        &self.console
    }

    /// Whether log records are not printed, and failures are.
    pub(crate) fn prints_failures_only(&self) -> bool {
        matches!(self.console, Console::Failures(_))
    }

    /// Report what failed, on the console.
    pub(crate) fn report(&self, failure: &str) {
        match &self.console {
            Console::Failures(print) => print(&format!("model-foundry: {failure}")),
            _ => self.print(&format!("model-foundry: {failure}")),
        }
    }

    /// What a caller gets for a result: an error that is not the caller's own mistake is counted, reported once, and
    /// returned only if the caller asked for that.
    pub(crate) fn apply<R: Default>(&self, result: Result<R>) -> Result<R> {
        match result {
            Err(error) if !matches!(error, Error::Invalid(_)) => {
                self.count(&error, 1);
                match self.on_error {
                    OnError::Report => Ok(R::default()),
                    OnError::Return => Err(error),
                }
            }
            result => result,
        }
    }

    /// Count records that could not be written, and warn once. What the storage refused is counted where it waits.
    pub(crate) fn count(&self, error: &Error, records: u64) {
        if matches!(error, Error::Trap(_) | Error::TooLarge(_)) {
            self.lost.fetch_add(records, Ordering::Relaxed);
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            self.report(&format!(
                "could not write a record ({error}); it will be retried. Further failures are only counted, in \
                 run.json"
            ));
        }
    }
}
