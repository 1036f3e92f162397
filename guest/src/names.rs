//! Small ids for names: of metrics, timers and error types.

use std::collections::HashMap;
use std::rc::Rc;

/// A bounded set of names. Each has an id: 0, 1, 2 and so on, in order of first appearance.
#[derive(Clone, Debug)]
pub struct Names {
    ids: HashMap<Rc<str>, u32>,
    names: Vec<Rc<str>>,
    limit: usize,
}

impl Names {
    /// An empty set that can hold `limit` names.
    pub fn at_most(limit: usize) -> Self {
        Self { ids: HashMap::new(), names: Vec::new(), limit }
    }

    /// The id of a name, which is added if it is new. None if it is new and the set is full.
    pub fn id_or_insert(&mut self, name: &str) -> Option<u32> {
        if let Some(&id) = self.ids.get(name) {
            return Some(id);
        }
        if self.names.len() >= self.limit {
            return None;
        }
        let id = self.names.len() as u32;
        let name: Rc<str> = name.into();
        self.names.push(name.clone());
        self.ids.insert(name, id);
        Some(id)
    }

    /// The id of a name, if the set has it.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// The name with this id.
    ///
    /// # Panics
    ///
    /// If no name has it.
    pub fn name(&self, id: u32) -> &str {
        &self.names[id as usize]
    }

    /// The names, in order of first appearance.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// How many names the set has.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether the set has no names.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
