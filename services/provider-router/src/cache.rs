//! Vectors kept in memory, per input. The key holds everything that makes a vector what it is: tenant, space, input type, text.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use embermesh_types::{SpaceId, TenantId, TokenCount};
use moka::sync::Cache as Moka;

use crate::hashing::HashMap;

/// What is kept for a text.
#[derive(Debug, Clone)]
pub(crate) struct Cached {
    /// Little-endian f32.
    pub vector: Bytes,
    pub tokens: TokenCount,
    /// The entry that made it.
    pub provider: Arc<str>,
    /// When it answered.
    pub made: SystemTime,
}

impl Cached {
    /// How long ago it was made; nothing, if by another machine's clock it is of the future.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.made).unwrap_or_default()
    }
}

/// A cache key; keyed by tenant, so that no tenant can probe for another's texts.
pub(crate) type Key = [u8; 32];

/// What tenants' keys are made with, derived once for each.
#[derive(Debug, Default)]
pub(crate) struct Secrets(RwLock<HashMap<TenantId, [u8; 32]>>);

/// Secrets beyond are derived anew.
const MAX_SECRETS: usize = 10_000;

impl Secrets {
    fn of(&self, tenant: TenantId) -> [u8; 32] {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&tenant) {
            return *known;
        }
        let secret = blake3::derive_key("embermesh 2026 cache key of a tenant", tenant.uuid().as_bytes());
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_SECRETS {
            all.insert(tenant, secret);
        }
        secret
    }

    /// Makes the keys of one request. `input_type` is empty for models that embed documents and queries alike.
    pub fn keys(&self, tenant: TenantId, space: &SpaceId, input_type: &str) -> KeyMaker {
        let mut hasher = blake3::Hasher::new_keyed(&self.of(tenant));
        for part in [space.as_str(), input_type] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        KeyMaker(hasher)
    }
}

/// Makes the keys of one request.
pub(crate) struct KeyMaker(blake3::Hasher);

impl KeyMaker {
    /// A key that nobody else makes, for a text whose vector may not be kept or shared.
    pub fn lone() -> Key {
        *blake3::hash(uuid::Uuid::new_v4().as_bytes()).as_bytes()
    }

    /// The key of a text.
    pub fn key(&self, text: &str) -> Key {
        *self.0.clone().update(text.as_bytes()).finalize().as_bytes()
    }
}

/// The cache of this process.
#[derive(Debug, Clone)]
pub(crate) struct Cache(Moka<Key, Cached>);

impl Cache {
    /// Keeps up to `bytes` of vectors, each for `ttl`.
    pub fn new(bytes: u64, ttl: Duration) -> Self {
        let weigh = |_: &Key, cached: &Cached| u32::try_from(cached.vector.len() + 128).unwrap_or(u32::MAX);
        Self(Moka::builder().max_capacity(bytes).weigher(weigh).time_to_live(ttl).build())
    }

    /// What is kept.
    pub fn get(&self, key: &Key) -> Option<Cached> {
        self.0.get(key)
    }

    pub fn insert(&self, key: Key, cached: Cached) {
        self.0.insert(key, cached);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // parts that were joined could move over the border: laravel/ai#826, #839; modelflow#135; redisvl's `text:model`
        #[test]
        fn keys_are_equal_only_when_every_part_is(one in parts(), other in parts()) {
            prop_assert_eq!(key_of(&one) == key_of(&other), one == other);
        }
    }

    /// Tenant, space, input type and text, over few characters, so that their borders are hard to see.
    fn parts() -> impl Strategy<Value = (u8, String, String, String)> {
        (0_u8..2, "[a:]{1,2}@[12]{1,2}", "[a:]{0,2}", "[a:@12]{0,3}")
    }

    fn key_of((tenant, space, input_type, text): &(u8, String, String, String)) -> Key {
        let tenant = TenantId::new(uuid::Uuid::from_bytes([*tenant; 16]));
        Secrets::default().keys(tenant, &space.parse().unwrap(), input_type).key(text)
    }

    #[test]
    fn tenant_space_input_type_and_text_all_make_the_key() {
        let tenant = |n: u8| TenantId::new(uuid::Uuid::from_bytes([n; 16]));
        let space = |id: &str| id.parse::<SpaceId>().unwrap();
        let secrets = Secrets::default();
        let key = |t, s: &str, i: &str, text: &str| secrets.keys(tenant(t), &space(s), i).key(text);
        let all = [
            key(1, "m@3", "", "x"),
            key(2, "m@3", "", "x"),
            key(1, "m@4", "", "x"),
            key(1, "m@3", "query", "x"),
            key(1, "m@3", "", "y"),
            key(1, "m@3", "", "queryx"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one), "{at}");
        }
        assert_eq!(key(1, "m@3", "", "x"), all[0]);
    }
}
