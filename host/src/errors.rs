//! The error tracker.

use std::backtrace::Backtrace;
use std::error::Error as StdError;
use std::fmt::Write as _;

use model_foundry_guest::Field;

use crate::Result;
pub use crate::bindings::exports::model_foundry::logging::errors::{
    Entry as ErrorEntry, Report as ErrorReport, TypeCount,
};
use crate::convert::fields_to;
use crate::run::Run;

/// Keeps the errors of a run in errors.jsonl, and counts them by type. Clones are the same tracker.
#[derive(Clone)]
pub struct ErrorTracker {
    run: Run,
}

impl ErrorTracker {
    pub(crate) fn new(run: Run) -> Self {
        Self { run }
    }

    /// Log an error with its chain of sources and a backtrace of this call. It is on the disk when this
    /// returns.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`](crate::OnError::Return): if it could not be kept.
    pub fn log_error<E: StdError + ?Sized>(&self, error: &E, context: &[Field]) -> Result<()> {
        self.log(&type_name(error), &error.to_string(), &traceback(error), context)
    }

    /// Log an error from its parts: one of another language, say.
    ///
    /// # Errors
    ///
    /// As [`log_error`](Self::log_error).
    pub fn log(
        &self,
        error_type: &str,
        error_message: &str,
        traceback: &str,
        context: &[Field],
    ) -> Result<()> {
        let context = fields_to(context);
        self.run.keep(|recorder| {
            recorder.errors(|tracker, store, handle| {
                tracker.call_log_error(
                    store,
                    handle,
                    error_type,
                    error_message,
                    traceback,
                    &context,
                )
            })
        })
    }

    /// Counts by type, most frequent first.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn summary(&self) -> Result<Vec<TypeCount>> {
        self.run.with(|recorder| {
            recorder.errors(|tracker, store, handle| Ok(Ok(tracker.call_summary(store, handle)?)))
        })
    }

    /// The newest errors in memory, newest first, at most `count`.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn recent(&self, count: u32) -> Result<Vec<ErrorEntry>> {
        self.run.with(|recorder| {
            recorder
                .errors(|tracker, store, handle| Ok(Ok(tracker.call_recent(store, handle, count)?)))
        })
    }

    /// Set the counts to nothing; errors.jsonl stays.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn reset_counts(&self) -> Result<()> {
        self.run.with(|recorder| {
            recorder
                .errors(|tracker, store, handle| Ok(Ok(tracker.call_reset_counts(store, handle)?)))
        })
    }
}

/// The type of an error. Behind `dyn Error` it has no name: then the word that its `Debug` begins with is
/// taken, which is the type's for every derived one.
pub(crate) fn type_name<E: StdError + ?Sized>(error: &E) -> String {
    let name = std::any::type_name::<E>();
    if !name.starts_with("dyn ") {
        return name.to_owned();
    }
    let shown = format!("{error:?}");
    let word = shown.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    if word.starts_with(char::is_uppercase) { word } else { "Error".into() }
}

/// An error's message, what caused it, what caused that, and where this was called.
pub(crate) fn traceback<E: StdError + ?Sized>(error: &E) -> String {
    let mut text = format!("{}: {error}\n", type_name(error));
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = writeln!(text, "caused by: {cause}");
        source = cause.source();
    }
    let _ = write!(text, "backtrace:\n{}", Backtrace::force_capture());
    text
}
