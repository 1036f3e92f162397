//! Column sets: metrics that are named once, to be logged as rows of numbers.

use super::metric_statistics::MetricStatistics;
use crate::sinks::jsonl::PreparedColumn;
use crate::{Error, Result};
use model_foundry_types::Column;

/// Columns that were named once.
pub(super) struct ColumnSet {
    pub(super) columns: Vec<Column>,
    /// What writing a row needs of each.
    pub(super) prepared: Vec<Prepared>,
    /// The first that has no statistics because there are too many metrics.
    uncounted: Option<usize>,
}

/// A column, prepared to be written and counted.
pub(super) struct Prepared {
    pub(super) written: PreparedColumn,
    /// The metric's id among the metrics; none if there are too many.
    pub(super) metric: Option<u32>,
}

impl ColumnSet {
    /// Prepare columns to be written, and their metrics to be counted.
    pub(super) fn new(columns: Vec<Column>, all_statistics: &mut MetricStatistics) -> Result<Self> {
        // Before any is counted: columns that are refused leave no trace.
        for (at, column) in columns.iter().enumerate() {
            if columns[..at].iter().any(|earlier| earlier.name == column.name) {
                return Err(Error::Invalid(format!("column {:?} is named twice", column.name)));
            }
        }
        let mut prepared = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().enumerate() {
            prepared.push(Prepared {
                written: PreparedColumn::new(column, at),
                metric: all_statistics.metric_id(&column.name),
            });
        }
        let uncounted = prepared.iter().position(|column| column.metric.is_none());
        Ok(Self { columns, prepared, uncounted })
    }

    /// The first metric that has no statistics.
    pub(super) fn uncounted(&self) -> Option<&str> {
        self.uncounted.map(|at| self.columns[at].name.as_str())
    }
}
