//! Training metrics: writing them, keeping their statistics, reading them back.

mod attempts;
mod columns;
mod entry;
mod index;
mod logger;
mod reader;
mod row;
mod scan;
mod survey;
mod tally;
#[cfg(test)]
mod tests;
mod wandb_copy;

pub use columns::{Column, Kind};
pub use entry::Entry;
pub use logger::{MetricsLogger, Options};
pub use reader::{Damage, MetricsReader, Query, Series};
pub use tally::Tally;

/// How many distinct metrics have statistics. What is logged under further names stays in the file, and
/// the call says so.
pub const MOST_METRICS: usize = 8192;
