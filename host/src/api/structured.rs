//! The structured logger.

use std::error::Error as StdError;
use std::sync::Arc;

use model_foundry_types::{Field, Level};

use crate::Result;
use crate::api::errors::{traceback, type_name};
use crate::recording::core::RunCore;
use crate::recording::queue::Record;

/// Logs records to main.log, one line each, with a base context. Clones are the same logger.
///
/// A record below both levels of the configuration costs one comparison.
#[derive(Clone)]
pub struct StructuredLogger {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<RunCore>,
    /// The number of the logger among those of the run.
    number: usize,
    name: String,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let number = self.number;
        let _ = self.core.after_all(|guest| {
            guest.drop_logger(number);
            Ok(())
        });
    }
}

macro_rules! level_methods {
    ($($(#[$doc:meta])* $name:ident = $level:ident;)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        ///
        /// As [`log`](Self::log).
        #[inline]
        pub fn $name(&self, message: &str, fields: &[Field]) -> Result<()> {
            self.log(Level::$level, message, fields)
        })*
    };
}

impl std::fmt::Debug for StructuredLogger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StructuredLogger").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// Log a warning of this library itself. Where log records are not printed, it is reported.
pub(crate) fn warn(core: &Arc<RunCore>, warning: &str) {
    let logger = StructuredLogger::new(core.clone(), "model_foundry", core.base_context());
    // Failures are counted by the run.
    let _ = logger.warning(warning, &[]);
    if core.policy.prints_failures_only() {
        core.policy.report(warning);
    }
}

impl StructuredLogger {
    pub(crate) fn new(core: Arc<RunCore>, name: &str, context: Vec<Field>) -> Self {
        let number = core.with(|guest| Ok(guest.add_logger(name, context))).unwrap_or(usize::MAX);
        Self { shared: Arc::new(Shared { core, number, name: name.to_owned() }) }
    }

    /// The logger's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Log one record. In this record a field replaces a field of the same name of the base context. ERROR and CRITICAL
    /// records are on the disk when this returns.
    ///
    /// # Errors
    ///
    /// Only under [`OnError::Return`](crate::OnError::Return): if the record could not be written.
    #[inline]
    pub fn log(&self, level: Level, message: &str, fields: &[Field]) -> Result<()> {
        if self.shared.core.wants(level) { self.log_wanted(level, message, fields) } else { Ok(()) }
    }

    level_methods! {
        /// Log at DEBUG.
        debug = Debug;
        /// Log at INFO.
        info = Info;
        /// Log at WARNING.
        warning = Warning;
        /// Log at ERROR.
        error = Error;
        /// Log at CRITICAL.
        critical = Critical;
    }

    /// Log an error at ERROR, with its type, its message and its traceback: the chain of causes and the backtrace of
    /// this call.
    ///
    /// # Errors
    ///
    /// As [`log`](Self::log).
    pub fn exception<E: StdError + ?Sized>(
        &self,
        message: &str,
        error: &E,
        fields: &[Field],
    ) -> Result<()> {
        let mut all = vec![
            Field::new("exception_type", type_name(error)),
            Field::new("exception_message", error.to_string()),
            Field::new("traceback", traceback(error)),
        ];
        all.extend_from_slice(fields);
        self.log(Level::Error, message, &all)
    }

    /// The record as `{"message":…,"context":{…}}`, for programs that have a log of their own. Nothing is written.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn format(&self, message: &str, fields: &[Field]) -> Result<String> {
        self.shared.core.with(|guest| guest.format(self.shared.number, message, fields))
    }

    /// Add fields to the base context, or change them, from now on.
    pub fn update_context(&self, fields: Vec<Field>) {
        self.change_context(|context| {
            for field in fields {
                match context.iter_mut().find(|known| known.name == field.name) {
                    Some(known) => known.value = field.value,
                    None => context.push(field),
                }
            }
        });
    }

    /// Remove a field from the base context, if it is there.
    pub fn clear_context_field(&self, name: &str) {
        self.change_context(|context| context.retain(|known| known.name != name));
    }

    /// The base context.
    pub fn context(&self) -> Vec<Field> {
        let number = self.shared.number;
        self.shared.core.with(|guest| guest.context(number)).unwrap_or_default()
    }

    fn change_context(&self, change: impl FnOnce(&mut Vec<Field>)) {
        let number = self.shared.number;
        // The context is stored here. A caller can do nothing about a trap.
        let _ = self.shared.core.after_all(|guest| guest.change_context(number, change));
    }

    /// As [`log`](Self::log), as of a time in microseconds since 1970-01-01T00:00:00Z.
    pub(crate) fn log_at(
        &self,
        time: u64,
        level: Level,
        message: &str,
        fields: &[Field],
    ) -> Result<()> {
        let (core, number) = (&self.shared.core, self.shared.number);
        core.flush();
        let line = core
            .record(|guest| guest.as_of(time, |guest| guest.log(number, level, message, fields)))?;
        core.print(line);
        Ok(())
    }

    #[inline(never)]
    fn log_wanted(&self, level: Level, message: &str, fields: &[Field]) -> Result<()> {
        let core = &self.shared.core;
        let number = self.shared.number;
        // An error must be on the disk when this returns, after all that came before it.
        if level < Level::Error
            && let Some((queue, time)) = core.queue()
        {
            let (message, fields) = (message.to_owned(), fields.to_vec());
            let record: Record = Box::new(move |guest| guest.log(number, level, &message, &fields));
            return match queue.push(time, record) {
                Ok(()) => Ok(()),
                Err(record) => core.record(record).map(|line| core.print(line)),
            };
        }
        core.flush();
        let line = core.record(|guest| guest.log(number, level, message, fields))?;
        core.print(line);
        Ok(())
    }
}
