//! Training metrics: writing them, keeping their statistics, reading them back.

mod attempts;
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

pub use entry::Entry;
pub use logger::{Column, Kind, MetricsLogger, Options};
pub use reader::{Damage, MetricsReader, Query, Series};
pub use tally::Tally;

/// How many distinct metrics have statistics. What is logged under further names stays in the file, and
/// the call says so.
pub const MOST_METRICS: usize = 8192;
