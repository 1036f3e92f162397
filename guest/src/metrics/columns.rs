//! Columns: metrics that are named once, to be logged as rows of numbers.

use super::tally::Tally;
use crate::json;
use crate::line_buffer::{Fragment, LineBuffer};
use crate::{Error, Result};

/// How a column's numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1.0 is written 1.0.
    Float,
    /// 1.0 is written 1.
    Integer,
}

/// A column of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The metric.
    pub name: String,
    /// How its numbers are written.
    pub kind: Kind,
}

/// Columns that were named once.
pub(super) struct ColumnSet {
    pub(super) columns: Vec<Column>,
    /// What writing a row takes of each.
    pub(super) prepared: Vec<Prepared>,
    /// The first that has no statistics, since there are too many metrics.
    uncounted: Option<usize>,
}

/// A column, prepared to be written.
pub(super) struct Prepared {
    /// What stands before a value: `,"name":`, the first without its comma.
    pub(super) key: Fragment,
    /// The name as JSON.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The metric's number in the tally; none if there are too many.
    pub(super) number: Option<u32>,
}

impl ColumnSet {
    /// Prepare columns to be written, and their metrics to be counted.
    pub(super) fn new(columns: Vec<Column>, tally: &mut Tally) -> Result<Self> {
        // Before any is counted: columns that are refused leave no trace.
        for (at, column) in columns.iter().enumerate() {
            if columns[..at].iter().any(|earlier| earlier.name == column.name) {
                return Err(Error::Invalid(format!("the column {:?} is named twice", column.name)));
            }
        }
        let mut prepared = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().enumerate() {
            let mut name = LineBuffer::new();
            json::write_string(&mut name, &column.name);
            prepared.push(Prepared {
                key: Fragment::new(&format!("{}{}:", if at == 0 { "" } else { "," }, &*name)),
                name: name.into(),
                kind: column.kind,
                number: tally.number(&column.name),
            });
        }
        let uncounted = prepared.iter().position(|column| column.number.is_none());
        Ok(Self { columns, prepared, uncounted })
    }

    /// The first metric that has no statistics.
    pub(super) fn uncounted(&self) -> Option<&str> {
        self.uncounted.map(|at| self.columns[at].name.as_str())
    }
}
