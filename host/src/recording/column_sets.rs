//! Column sets of steps that are logged by name. Nearly every step has the names of the step before: the names become
//! columns, and only the numbers cross to the component.

use model_foundry_types::{Column, Field, Kind, Value};

/// How many sets are remembered. A trainer has a few: those of every step, of every tenth step, of validation.
const MOST_SETS: usize = 64;

/// The column sets of steps by name.
#[derive(Default)]
pub(crate) struct ColumnSets {
    /// Columns, and their id.
    sets: Vec<(Vec<Column>, u32)>,
    latest: usize,
}

impl ColumnSets {
    /// The id of these metrics' columns, if they are known.
    pub(crate) fn find(&mut self, metrics: &[Field]) -> Option<u32> {
        let fits = |(columns, _): &(Vec<Column>, u32)| {
            columns.len() == metrics.len()
                && columns.iter().zip(metrics).all(|(column, Field { name, value })| {
                    matches!(
                        (column.kind, value),
                        (Kind::Float, Value::Float(_)) | (Kind::Integer, Value::Integer(_))
                    ) && column.name == *name
                })
        };
        if !self.sets.get(self.latest).is_some_and(fits) {
            self.latest = self.sets.iter().position(fits)?;
        }
        Some(self.sets[self.latest].1)
    }

    /// Whether more can be remembered.
    pub(crate) fn has_room(&self) -> bool {
        self.sets.len() < MOST_SETS
    }

    /// Remember columns and their id.
    pub(crate) fn add(&mut self, columns: Vec<Column>, number: u32) {
        self.latest = self.sets.len();
        self.sets.push((columns, number));
    }
}

/// The columns of a step's metrics.
pub(crate) fn columns(metrics: &[Field]) -> Vec<Column> {
    let column = |Field { name, value }: &Field| Column {
        name: name.clone(),
        kind: if matches!(value, Value::Integer(_)) { Kind::Integer } else { Kind::Float },
    };
    metrics.iter().map(column).collect()
}

/// The step's values, if each is a number that a row represents exactly.
pub(crate) fn values<'a>(
    metrics: &[Field],
    values: &'a mut [f64; Column::WIDEST],
) -> Option<&'a [f64]> {
    let values = values.get_mut(..metrics.len()).filter(|values| !values.is_empty())?;
    for (place, field) in values.iter_mut().zip(metrics) {
        *place = match &field.value {
            Value::Float(float) => *float,
            Value::Integer(integer) if integer.unsigned_abs() <= Column::EXACT as u64 => {
                *integer as f64
            }
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
        let row =
            |metrics: &[Field]| values(metrics, &mut [0.0; Column::WIDEST]).map(<[f64]>::to_vec);
        assert_eq!(row(&fields! { loss: 0.5, seen: 8500 }), Some(vec![0.5, 8500.0]));
        assert_eq!(row(&fields! { seen: Column::EXACT + 1 }), None);
        assert_eq!(row(&fields! { loss: 0.5, phase: "train" }), None);
        assert_eq!(row(&fields! { loss: 0.5, done: true }), None);
        assert_eq!(row(&fields! {}), None);
        assert_eq!(row(&vec![Field::new("a", 1.0); Column::WIDEST + 1]), None);
    }

    #[test]
    fn columns_are_found_by_names_order_and_kinds() {
        let mut sets = ColumnSets::default();
        let step = fields! { loss: 0.5, seen: 8500 };
        assert_eq!(sets.find(&step), None);
        sets.add(columns(&step), 7);
        sets.add(columns(&fields! { val_loss: 0.5 }), 8);
        assert_eq!(sets.find(&fields! { loss: 0.25, seen: 1 }), Some(7));
        assert_eq!(sets.find(&fields! { val_loss: 0.25 }), Some(8));
        for other in [
            fields! { seen: 8500, loss: 0.5 },
            fields! { loss: 0.5, seen: 8500.0 },
            fields! { loss: 0.5 },
            fields! { loss: 0.5, seen: 8500, more: 1 },
        ] {
            assert_eq!(sets.find(&other), None);
        }
    }
}
