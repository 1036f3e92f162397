//! Where metrics go.
//!
//! metrics.jsonl is written first, always: it is the data. The other sinks are copies for other tools. To add one,
//! write its file here and add a line to the list of `Copies`; the host's table of run files grants its file.

pub(crate) mod jsonl;
mod wandb;

use model_foundry_types::{LoggingConfig, Options, StepOrigin};

use crate::Result;
use crate::imports::Imports;
use crate::value::ValueRef;

/// A destination of metrics. A row is begun, gets its values and ends; ended rows are appended.
pub(crate) trait MetricSink<I: Imports> {
    /// Begin a row.
    fn begin_row(&mut self, head: &RowHead);

    /// Add a value to the row. `text` is the value's JSON text in metrics.jsonl, where NaN and the infinities are
    /// null.
    fn value(&mut self, name: &str, value: ValueRef<'_>, text: &str);

    /// End the row.
    fn end_row(&mut self);

    /// Drop the row that was ended last: it is too large to be recorded.
    fn discard_row(&mut self);

    /// Append the rows that ended, or hold them back for a larger block.
    fn append(&mut self, imports: &I) -> Result<()>;

    /// Append what is held back. `time` is now.
    fn flush(&mut self, imports: &I, time: u64) -> Result<()>;

    /// End the sink's file with the training's exit code.
    fn close(&mut self, imports: &I, exit_code: i32, time: u64) -> Result<()>;
}

/// What every value of a row has in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowHead {
    /// In microseconds since 1970-01-01T00:00:00Z.
    pub(crate) time: u64,
    /// The step; none for a summary.
    pub(crate) step: Option<u64>,
    /// The epoch, if it is finite.
    pub(crate) epoch: Option<f64>,
    /// Who logged it.
    pub(crate) source: Source,
    /// Where the step comes from.
    pub(crate) origin: StepOrigin,
}

/// The process that logs a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// The attempt, from 1.
    pub(crate) attempt: u32,
    /// The rank, if there are several processes.
    pub(crate) rank: Option<u32>,
}

/// A sink that is a copy for another tool, begun as the configuration asks.
trait CopySink<I: Imports>: MetricSink<I> + Sized {
    /// Begin the copy; none if the configuration does not ask for it, or it cannot be written here.
    fn begin(config: &LoggingConfig, options: &Options) -> Option<Self>;
}

/// Declares [`Copies`] with one optional field for each sink. Calls reach every copy that was begun.
macro_rules! copies {
    ($($(#[doc = $doc:literal])+ $name:ident: $sink:ty,)+) => {
        /// The copies of a run's metrics. A copy that cannot be written is given up: metrics.jsonl has the data,
        /// and a copy with a gap is of no use.
        #[derive(Default)]
        pub(crate) struct Copies {
            $($(#[doc = $doc])+ $name: Option<$sink>,)+
        }

        impl Copies {
            /// Begin the copies that the configuration asks for.
            pub(crate) fn begin<I: Imports>(config: &LoggingConfig, options: &Options) -> Self {
                Self { $($name: <$sink as CopySink<I>>::begin(config, options),)+ }
            }

            /// Whether there is any copy.
            #[inline]
            pub(crate) fn any(&self) -> bool {
                false $(|| self.$name.is_some())+
            }
        }

        impl<I: Imports> MetricSink<I> for Copies {
            fn begin_row(&mut self, head: &RowHead) {
                $(if let Some(sink) = &mut self.$name {
                    MetricSink::<I>::begin_row(sink, head);
                })+
            }

            #[inline]
            fn value(&mut self, name: &str, value: ValueRef<'_>, text: &str) {
                $(if let Some(sink) = &mut self.$name {
                    MetricSink::<I>::value(sink, name, value, text);
                })+
            }

            fn end_row(&mut self) {
                $(if let Some(sink) = &mut self.$name {
                    MetricSink::<I>::end_row(sink);
                })+
            }

            fn discard_row(&mut self) {
                $(if let Some(sink) = &mut self.$name {
                    MetricSink::<I>::discard_row(sink);
                })+
            }

            #[inline]
            fn append(&mut self, imports: &I) -> Result<()> {
                $(if let Some(sink) = &mut self.$name
                    && sink.append(imports).is_err()
                {
                    self.$name = None;
                })+
                Ok(())
            }

            fn flush(&mut self, imports: &I, time: u64) -> Result<()> {
                let mut flushed = Ok(());
                $(if let Some(sink) = &mut self.$name
                    && let Err(error) = sink.flush(imports, time)
                {
                    self.$name = None;
                    flushed = Err(error);
                })+
                flushed
            }

            fn close(&mut self, imports: &I, exit_code: i32, time: u64) -> Result<()> {
                let mut closed = Ok(());
                $(if let Some(mut sink) = self.$name.take()
                    && let Err(error) = sink.close(imports, exit_code, time)
                {
                    closed = Err(error);
                })+
                closed
            }
        }
    };
}

copies! {
    /// A Weights & Biases offline run.
    wandb: wandb::Wandb,
}
