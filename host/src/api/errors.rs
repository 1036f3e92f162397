//! The error tracker.

use std::backtrace::Backtrace;
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::sync::Arc;

use model_foundry_types::{ErrorEntry, Field, TypeCount};
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::Result;
use crate::engine::bindings::exports::model_foundry::logging::errors::GuestErrorTracker;
use crate::engine::sandbox::BUDGET;
use crate::recording::core::RunCore;
use crate::recording::guest_loggers::Answer;
use crate::services::StoreData;

/// Records the errors of a run in errors.jsonl, and counts them by type. Clones are the same tracker.
#[derive(Clone)]
pub struct ErrorTracker {
    core: Arc<RunCore>,
}

impl std::fmt::Debug for ErrorTracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ErrorTracker").finish_non_exhaustive()
    }
}

impl ErrorTracker {
    pub(crate) fn new(core: Arc<RunCore>) -> Self {
        Self { core }
    }

    /// Log an error with its chain of sources and a backtrace of this call. It is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`](crate::OnError::Return): if it could not be written.
    pub fn log_error<E: StdError + ?Sized>(&self, error: &E, context: &[Field]) -> Result<()> {
        self.log(&type_name(error), &error.to_string(), &traceback(error), context)
    }

    /// Log an error from its parts, for example one of another language.
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
        let time = self.core.clock.now();
        self.log_at(time, error_type, error_message, traceback, context)
    }

    /// As [`log`](Self::log), as of a time in microseconds since 1970-01-01T00:00:00Z.
    pub(crate) fn log_at(
        &self,
        time: u64,
        error_type: &str,
        error_message: &str,
        traceback: &str,
        context: &[Field],
    ) -> Result<()> {
        self.core.record(|guest| {
            guest.as_of(time, |guest| {
                guest.errors(|tracker, store, handle| {
                    tracker.call_log_error(
                        store,
                        handle,
                        error_type,
                        error_message,
                        traceback,
                        context,
                    )
                })
            })
        })
    }

    /// Counts by type, most frequent first.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`](crate::Error::Storage) if the file cannot be read.
    pub fn summary(&self) -> Result<Vec<TypeCount>> {
        self.prepared(|tracker, store, handle| tracker.call_summary(store, handle))
    }

    /// The newest errors in memory, newest first, at most `count`.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`](crate::Error::Storage) if the file cannot be read.
    pub fn recent(&self, count: u32) -> Result<Vec<ErrorEntry>> {
        self.prepared(|tracker, store, handle| tracker.call_recent(store, handle, count))
    }

    /// Call the tracker after it has read what was in the file, in several calls, between which other threads may
    /// log.
    fn prepared<R>(
        &self,
        call: impl Fn(GuestErrorTracker<'_>, &mut Store<StoreData>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        self.core.with_until_done(|guest| {
            let is_read = guest
                .errors(|tracker, store, handle| tracker.call_prepare(store, handle, BUDGET))?;
            if is_read { guest.errors(&call).map(Some) } else { Ok(None) }
        })
    }

    /// Set every count to 0; errors.jsonl stays.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn reset_counts(&self) -> Result<()> {
        self.core.with(|guest| {
            guest.errors(|tracker, store, handle| Ok(Ok(tracker.call_reset_counts(store, handle)?)))
        })
    }
}

/// The type of an error. As `dyn Error` it has no name: then this is the first word of its `Debug` text, which is the
/// type's name for every derived `Debug`.
pub(crate) fn type_name<E: StdError + ?Sized>(error: &E) -> String {
    let name = std::any::type_name::<E>();
    if !name.starts_with("dyn ") {
        return name.to_owned();
    }
    let shown = format!("{error:?}");
    let word = shown.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    if word.starts_with(char::is_uppercase) { word } else { "Error".into() }
}

/// An error's type and message, the chain of its causes, and the backtrace of this call.
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
