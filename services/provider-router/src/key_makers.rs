//! Makers of cache keys by what they are for: to derive one takes longer than all else about a key.

use std::sync::{Arc, PoisonError, RwLock};

use embermesh_types::{SpaceId, TenantId};
use embermesh_vector_key::KeyMaker;

use crate::{cache::key_maker, hashing::HashMap};

/// Those beyond are made anew each time.
const MOST: usize = 1024;

/// Tenant, space and input type.
type For = (TenantId, SpaceId, &'static str);

/// The makers of this process.
#[derive(Debug, Default)]
pub(crate) struct KeyMakers(RwLock<HashMap<For, Arc<KeyMaker>>>);

impl KeyMakers {
    /// What makes the keys of one request. `input_type` is empty for models that embed documents and queries alike.
    pub fn of(&self, tenant: TenantId, space: &SpaceId, input_type: &'static str) -> Arc<KeyMaker> {
        let of = (tenant, space.clone(), input_type);
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&of) {
            return Arc::clone(known);
        }
        let maker = Arc::new(key_maker(tenant, space, input_type));
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MOST {
            all.insert(of, Arc::clone(&maker));
        }
        maker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_makes_the_same_keys_and_no_more_is_kept_than_fits() {
        let (makers, space) = (KeyMakers::default(), "m@3".parse::<SpaceId>().unwrap());
        let tenant = |n: u128| TenantId::new(uuid::Uuid::from_u128(n));
        for n in 0..MOST as u128 + 3 {
            let fresh = key_maker(tenant(n), &space, "query").key("text");
            for _ in 0..2 {
                assert_eq!(makers.of(tenant(n), &space, "query").key("text"), fresh);
            }
        }
        assert_ne!(
            makers.of(tenant(0), &space, "").key("text"),
            makers.of(tenant(0), &space, "query").key("text")
        );
        assert_eq!(makers.0.read().unwrap().len(), MOST);
    }
}
