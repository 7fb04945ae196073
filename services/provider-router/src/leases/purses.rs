//! Purses by what they are for.

use std::{
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
};

use super::Purse;
use crate::hashing::HashMap;

/// Those of one kind.
#[derive(Debug)]
pub(super) struct Purses<K>(RwLock<HashMap<K, Arc<Purse>>>);

impl<K> Default for Purses<K> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Eq + Hash + Clone> Purses<K> {
    pub fn get(&self, key: &K) -> Option<Arc<Purse>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub fn get_or_make(&self, key: &K, make: impl FnOnce() -> Purse) -> Arc<Purse> {
        self.get(key).unwrap_or_else(|| {
            let mut purses = self.0.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(purses.entry(key.clone()).or_insert_with(|| Arc::new(make())))
        })
    }

    pub fn all(&self) -> Vec<Arc<Purse>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Forgets those that nobody has used for long.
    pub fn forget(&self, now: u64) {
        let mut purses = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // whoever has just taken one out of the map draws from it once and finds nothing there
        purses.retain(|_, purse| !purse.is_forgotten(now) || Arc::strong_count(purse) > 1);
    }
}
