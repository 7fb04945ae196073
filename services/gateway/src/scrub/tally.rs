//! How much personal data one text and its metadata held.

use std::collections::BTreeMap;

use embermesh_pii::Entity;

/// Findings by entity.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<Entity, u32>);

impl Tally {
    /// One more.
    pub fn add(&mut self, entity: &Entity) {
        match self.0.get_mut(entity) {
            Some(count) => *count = count.saturating_add(1),
            None => drop(self.0.insert(entity.clone(), 1)),
        }
    }

    /// As an answer shows it.
    pub fn into_counts(self) -> BTreeMap<String, u32> {
        self.0.into_iter().map(|(entity, count)| (entity.as_str().to_owned(), count)).collect()
    }
}
