//! Names that become numbers: metrics, timers, error types.

use std::collections::HashMap;
use std::rc::Rc;

/// Distinct names in order of first appearance, at most a stated number of them.
#[derive(Clone, Debug)]
pub struct Names {
    numbers: HashMap<Rc<str>, u32>,
    names: Vec<Rc<str>>,
    most: usize,
    refused: u64,
}

impl Names {
    /// No names yet, and never more than `most`.
    pub fn at_most(most: usize) -> Self {
        Self { numbers: HashMap::new(), names: Vec::new(), most, refused: 0 }
    }

    /// The number of a name, given out now if it is new; none where there are too many, which is
    /// counted.
    pub fn number_or_insert(&mut self, name: &str) -> Option<u32> {
        if let Some(&number) = self.numbers.get(name) {
            return Some(number);
        }
        if self.names.len() >= self.most {
            self.refused += 1;
            return None;
        }
        let number = self.names.len() as u32;
        let name: Rc<str> = name.into();
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        Some(number)
    }

    /// The number of a name, if it has one.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The name of a number.
    pub fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    /// All names, in order of first appearance.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How often a name was refused because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Forget all.
    pub fn clear(&mut self) {
        self.numbers.clear();
        self.names.clear();
        self.refused = 0;
    }
}
