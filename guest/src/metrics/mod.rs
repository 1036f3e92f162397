//! Training metrics: writing them, keeping their statistics, reading them back.

mod columns;
mod entry;
mod index;
mod logger;
mod metric_statistics;
mod part_scan;
mod reader;
mod scan;
mod superseded;
#[cfg(test)]
mod tests;
mod trend;

pub use entry::Entry;
pub use logger::MetricsLogger;
pub use metric_statistics::{AllStatistics, MetricStatistics};
pub use model_foundry_types::{Column, Damage, Kind, Options, Purpose, Query, Row, Series};
pub use reader::{MetricBuckets, MetricsReader};
pub use trend::Bucket;

/// How many distinct metrics have statistics. What is logged under further names stays in the file, and
/// the call says so.
pub const MOST_METRICS: usize = 8192;
