//! Steps logged by name have the names of the step before, nearly always: their names become columns, and
//! only their numbers travel.

use model_foundry_guest::{Field, Value};

use crate::metrics::{Column, Kind};

/// How many sets of names are remembered. A trainer has a few: each step's, each tenth's, validation's.
const MOST_SHAPES: usize = 64;

/// How many metrics a step may have to become a row.
pub(crate) const WIDEST: usize = 32;

/// Above this a float does not hold every whole number: 2^53.
const EXACT: u64 = 1 << 53;

/// The columns that steps by name have become.
#[derive(Default)]
pub(crate) struct Shapes {
    /// Columns, and their number.
    shapes: Vec<(Vec<Column>, u32)>,
    latest: usize,
}

impl Shapes {
    /// The number of these metrics' columns, if they are known.
    pub(crate) fn find(&mut self, metrics: &[Field]) -> Option<u32> {
        let fits = |(columns, _): &(Vec<Column>, u32)| {
            columns.len() == metrics.len()
                && columns.iter().zip(metrics).all(|(column, (name, value))| {
                    matches!(
                        (column.kind, value),
                        (Kind::Float, Value::Float(_)) | (Kind::Integer, Value::Integer(_))
                    ) && column.name == *name
                })
        };
        if !self.shapes.get(self.latest).is_some_and(fits) {
            self.latest = self.shapes.iter().position(fits)?;
        }
        Some(self.shapes[self.latest].1)
    }

    /// Whether more can be remembered.
    pub(crate) fn has_room(&self) -> bool {
        self.shapes.len() < MOST_SHAPES
    }

    /// Remember columns by their number.
    pub(crate) fn add(&mut self, columns: Vec<Column>, number: u32) {
        self.latest = self.shapes.len();
        self.shapes.push((columns, number));
    }
}

/// The columns of a step's metrics.
pub(crate) fn columns(metrics: &[Field]) -> Vec<Column> {
    let column = |(name, value): &Field| Column {
        name: name.clone(),
        kind: if matches!(value, Value::Integer(_)) { Kind::Integer } else { Kind::Float },
    };
    metrics.iter().map(column).collect()
}

/// The step's values, if every one is a number that a row holds as it is.
pub(crate) fn values<'a>(metrics: &[Field], values: &'a mut [f64; WIDEST]) -> Option<&'a [f64]> {
    let values = values.get_mut(..metrics.len()).filter(|values| !values.is_empty())?;
    for (place, (_, value)) in values.iter_mut().zip(metrics) {
        *place = match value {
            Value::Float(float) => *float,
            Value::Integer(integer) if integer.unsigned_abs() <= EXACT => *integer as f64,
            _ => return None,
        };
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields;

    #[test]
    fn a_step_is_a_row_if_its_values_are_numbers_that_a_float_holds() {
        let row = |metrics: &[Field]| values(metrics, &mut [0.0; WIDEST]).map(<[f64]>::to_vec);
        assert_eq!(row(&fields! { loss: 0.5, seen: 8500 }), Some(vec![0.5, 8500.0]));
        assert_eq!(row(&fields! { seen: EXACT + 1 }), None);
        assert_eq!(row(&fields! { loss: 0.5, phase: "train" }), None);
        assert_eq!(row(&fields! { loss: 0.5, done: true }), None);
        assert_eq!(row(&fields! {}), None);
        assert_eq!(row(&vec![("a".to_owned(), Value::Float(1.0)); WIDEST + 1]), None);
    }

    #[test]
    fn columns_are_found_by_names_order_and_kinds() {
        let mut shapes = Shapes::default();
        let step = fields! { loss: 0.5, seen: 8500 };
        assert_eq!(shapes.find(&step), None);
        shapes.add(columns(&step), 7);
        shapes.add(columns(&fields! { val_loss: 0.5 }), 8);
        assert_eq!(shapes.find(&fields! { loss: 0.25, seen: 1 }), Some(7));
        assert_eq!(shapes.find(&fields! { val_loss: 0.25 }), Some(8));
        for other in [
            fields! { seen: 8500, loss: 0.5 },
            fields! { loss: 0.5, seen: 8500.0 },
            fields! { loss: 0.5 },
            fields! { loss: 0.5, seen: 8500, more: 1 },
        ] {
            assert_eq!(shapes.find(&other), None);
        }
    }
}
