//! Column sets of steps that are logged by name. Nearly every step has the names of the step before: the names become
//! columns, and only the numbers cross to the component.

use model_foundry_types::{Column, Field, Kind, Value};

/// How many sets are remembered. A trainer has a few: those of every step, of every tenth step, of validation.
const MOST_SETS: usize = 64;

/// The column sets of steps by name.
#[derive(Default)]
pub(crate) struct ColumnSets {
    sets: Vec<ColumnSet>,
    latest: usize,
}

struct ColumnSet {
    columns: Vec<Column>,
    id: u32,
    /// The highest step that was logged.
    highest_step: u64,
}

/// What is known of a step's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The id of their columns.
    pub(crate) id: u32,
    /// The highest step of these metrics before.
    pub(crate) highest_step: u64,
}

impl ColumnSets {
    /// The columns of these metrics, which are logged at a step, if they are known.
    pub(crate) fn find(&mut self, metrics: &[Field], step: u64) -> Option<Known> {
        let fits = |ColumnSet { columns, .. }: &ColumnSet| {
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
        let ColumnSet { id, highest_step, .. } = &mut self.sets[self.latest];
        let known = Known { id: *id, highest_step: *highest_step };
        *highest_step = step.max(*highest_step);
        Some(known)
    }

    /// Whether more can be remembered.
    pub(crate) fn has_room(&self) -> bool {
        self.sets.len() < MOST_SETS
    }

    /// Remember columns and their id.
    pub(crate) fn add(&mut self, columns: Vec<Column>, id: u32, step: u64) {
        self.latest = self.sets.len();
        self.sets.push(ColumnSet { columns, id, highest_step: step });
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
        assert_eq!(sets.find(&step, 1), None);
        sets.add(columns(&step), 7, 1);
        sets.add(columns(&fields! { val_loss: 0.5 }), 8, 1);
        let known = |id, highest_step| Some(Known { id, highest_step });
        assert_eq!(sets.find(&fields! { loss: 0.25, seen: 1 }, 5), known(7, 1));
        assert_eq!(sets.find(&fields! { loss: 0.25, seen: 1 }, 3), known(7, 5));
        assert_eq!(sets.find(&fields! { val_loss: 0.25 }, 2), known(8, 1));
        for other in [
            fields! { seen: 8500, loss: 0.5 },
            fields! { loss: 0.5, seen: 8500.0 },
            fields! { loss: 0.5 },
            fields! { loss: 0.5, seen: 8500, more: 1 },
        ] {
            assert_eq!(sets.find(&other, 1), None);
        }
    }
}
