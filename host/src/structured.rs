//! The structured logger.

use std::error::Error as StdError;
use std::sync::Arc;

use model_foundry_guest::{Field, Level};

use crate::Result;
use crate::errors::{traceback, type_name};
use crate::queue::Record;
use crate::run::{Run, with_field};

/// Logs records to main.log, one line each, with a base context. Clones are the same logger.
///
/// A record below both levels of the configuration costs a comparison.
#[derive(Clone)]
pub struct StructuredLogger {
    shared: Arc<Shared>,
}

struct Shared {
    run: Run,
    number: usize,
    name: String,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let number = self.number;
        let _ = self.run.after_all(|recorder| {
            recorder.drop_logger(number);
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
        pub fn $name(&self, message: &str, fields: &[Field]) -> Result<()> {
            self.log(Level::$level, message, fields)
        })*
    };
}

impl StructuredLogger {
    pub(crate) fn new(run: Run, name: &str, context: Vec<Field>) -> Self {
        let number =
            run.with(|recorder| Ok(recorder.add_logger(name, context))).unwrap_or(usize::MAX);
        Self { shared: Arc::new(Shared { run, number, name: name.to_owned() }) }
    }

    /// The logger's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Log one record. A field wins over one of the same name in the base context, for this record.
    /// ERROR and CRITICAL records are on the disk when this returns.
    ///
    /// # Errors
    ///
    /// Only under [`OnError::Return`](crate::OnError::Return): if the record could not be kept.
    #[inline]
    pub fn log(&self, level: Level, message: &str, fields: &[Field]) -> Result<()> {
        if self.shared.run.wants(level) { self.log_wanted(level, message, fields) } else { Ok(()) }
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

    /// Log an error at ERROR, with its type, its message and its traceback: the chain of causes and the
    /// backtrace of this call.
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
        let fields = with_field("traceback", traceback(error), fields);
        let fields = with_field("exception_message", error.to_string(), &fields);
        let fields = with_field("exception_type", type_name(error), &fields);
        self.log(Level::Error, message, &fields)
    }

    /// The record as `{"message":…,"context":{…}}`, written nowhere: for programs that have a log of their
    /// own.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`](crate::Error::Trap) if the component fails.
    pub fn format(&self, message: &str, fields: &[Field]) -> Result<String> {
        self.shared.run.with(|recorder| recorder.format(self.shared.number, message, fields))
    }

    /// Add fields to the base context, or change them, from now on.
    pub fn update_context(&self, fields: Vec<Field>) {
        self.change_context(|context| {
            for (name, value) in fields {
                match context.iter_mut().find(|(known, _)| *known == name) {
                    Some(field) => field.1 = value,
                    None => context.push((name, value)),
                }
            }
        });
    }

    /// Take a field out of the base context. An absent one is no error.
    pub fn clear_context_field(&self, name: &str) {
        self.change_context(|context| context.retain(|(known, _)| known != name));
    }

    /// The base context.
    pub fn context(&self) -> Vec<Field> {
        let number = self.shared.number;
        self.shared.run.with(|recorder| recorder.context(number)).unwrap_or_default()
    }

    fn change_context(&self, change: impl FnOnce(&mut Vec<Field>)) {
        let number = self.shared.number;
        // The context is kept on this side: there is nothing that the caller could do about a trap.
        let _ = self.shared.run.after_all(|recorder| recorder.change_context(number, change));
    }

    #[inline(never)]
    fn log_wanted(&self, level: Level, message: &str, fields: &[Field]) -> Result<()> {
        let run = &self.shared.run;
        let number = self.shared.number;
        // An error must be on the disk when this returns, after all that came before it.
        if level < Level::Error
            && let Some((queue, time)) = run.queue()
        {
            let (message, fields) = (message.to_owned(), fields.to_vec());
            let record: Record =
                Box::new(move |recorder| recorder.log(number, level, &message, &fields));
            return match queue.push(time, record) {
                Ok(()) => Ok(()),
                Err(record) => run.keep(record).map(|line| run.say_line(line)),
            };
        }
        run.flush();
        let line = run.keep(|recorder| recorder.log(number, level, message, fields))?;
        run.say_line(line);
        Ok(())
    }
}
