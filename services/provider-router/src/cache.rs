//! Vectors kept in memory, per input. The key holds everything that makes a vector what it is: tenant, space, input type, text.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use embermesh_types::{SpaceId, TenantId, TokenCount};
use moka::sync::Cache as Moka;

/// What is kept for a text.
#[derive(Debug, Clone)]
pub(crate) struct Cached {
    /// Little-endian f32.
    pub vector: Bytes,
    pub tokens: TokenCount,
    pub provider: Arc<str>,
    /// When the provider answered.
    pub made: Instant,
}

/// A cache key; keyed by tenant, so that no tenant can probe for another's texts.
pub(crate) type Key = [u8; 32];

/// Makes the keys of one request.
pub(crate) struct KeyMaker(blake3::Hasher);

impl KeyMaker {
    /// `input_type` is empty for models that embed documents and queries alike.
    pub fn new(tenant: TenantId, space: &SpaceId, input_type: &str) -> Self {
        let secret = blake3::derive_key("embermesh 2026 cache key of a tenant", tenant.uuid().as_bytes());
        let mut hasher = blake3::Hasher::new_keyed(&secret);
        for part in [space.as_str(), input_type] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher)
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

    /// What is kept, unless it is older than `max_age`.
    pub fn get(&self, key: &Key, max_age: Duration) -> Option<Cached> {
        self.0.get(key).filter(|cached| cached.made.elapsed() <= max_age)
    }

    pub fn insert(&self, key: Key, cached: Cached) {
        self.0.insert(key, cached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_an_agent_wants_is_not_served() {
        let cache = Cache::new(1 << 20, Duration::from_secs(3600));
        let made = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        let cached =
            Cached { vector: Bytes::from_static(b"1234"), tokens: TokenCount(1), provider: "p".into(), made };
        cache.insert([0; 32], cached);
        assert!(cache.get(&[0; 32], Duration::from_secs(90)).is_some());
        assert!(cache.get(&[0; 32], Duration::from_secs(30)).is_none());
    }

    #[test]
    fn tenant_space_input_type_and_text_all_make_the_key() {
        let tenant = |n: u8| TenantId::new(uuid::Uuid::from_bytes([n; 16]));
        let space = |id: &str| id.parse::<SpaceId>().unwrap();
        let key = |t, s: &str, i: &str, text: &str| KeyMaker::new(tenant(t), &space(s), i).key(text);
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
