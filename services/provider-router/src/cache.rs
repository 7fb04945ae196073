//! Vectors kept in memory, per input.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use embermesh_subscription::CacheClear;
use embermesh_types::{SpaceId, TenantId, TokenCount};
use embermesh_vector_key::{KeyMaker, Keys, VectorKey};
use quick_cache::{Weighter, sync::DefaultLifecycle};

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
    /// Since when it counts as kept: since then, or for one that came from a stored row since that was put into Redis.
    pub kept: SystemTime,
    /// Version of the configuration when it was asked for; an order to clear with a greater number is about it.
    pub stamp: i64,
}

impl Cached {
    /// For how long it has been kept; nothing, if by another machine's clock it is of the future.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.kept).unwrap_or_default()
    }
}

/// A cache key.
pub(crate) type Key = VectorKey;

/// Makes the keys of one request. `input_type` is empty for models that embed documents and queries alike.
pub(crate) fn key_maker(tenant: TenantId, space: &SpaceId, input_type: &str) -> KeyMaker {
    KeyMaker::new(tenant.uuid().as_bytes(), space.as_str(), input_type)
}

/// A key that nobody else makes, for a text whose vector may not be kept or shared.
pub(crate) fn lone_key() -> Key {
    VectorKey::lone(*uuid::Uuid::new_v4().as_bytes())
}

/// The keys that an order to clear is about.
pub(crate) fn keys_of(clear: &CacheClear) -> Keys {
    let keys =
        clear.tenant.map_or_else(Keys::default, |tenant| Keys::default().of_tenant(tenant.uuid().as_bytes()));
    clear.space.as_ref().map_or(keys, |space| keys.in_space(space.as_str()))
}

/// What an entry takes beside its vector, in bytes.
const OVERHEAD: usize = 192;
/// The size of most entries, from which the number is estimated.
const TYPICAL: u64 = 4 * 1536;

/// The cache of this process.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    entries: Arc<quick_cache::sync::Cache<Key, Entry, Bytewise, foldhash::fast::RandomState>>,
    ttl: Duration,
}

#[derive(Debug, Clone)]
struct Entry {
    cached: Cached,
    /// `None`: never.
    expires: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<Key, Entry> for Bytewise {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        (entry.cached.vector.len() + OVERHEAD) as u64
    }
}

impl Cache {
    /// Keeps up to `bytes` of vectors, each for `ttl` at most.
    pub fn new(bytes: u64, ttl: Duration) -> Self {
        let entries = usize::try_from(bytes / TYPICAL).unwrap_or(usize::MAX);
        let (hasher, lifecycle) = (foldhash::fast::RandomState::default(), DefaultLifecycle::default());
        let entries = quick_cache::sync::Cache::with(entries, bytes, Bytewise, hasher, lifecycle);
        Self { entries: Arc::new(entries), ttl }
    }

    /// What is kept.
    pub fn get(&self, key: &Key) -> Option<Cached> {
        let entry = self.entries.get(key)?;
        entry.expires.is_none_or(|end| Instant::now() < end).then_some(entry.cached)
    }

    pub fn insert(&self, key: Key, cached: Cached) {
        self.entries.insert(key, Entry { cached, expires: Instant::now().checked_add(self.ttl) });
    }

    /// Drops what was kept under `keys` before the order `number`.
    pub fn clear(&self, keys: &Keys, number: i64) {
        self.entries.retain(|key, entry| entry.cached.stamp >= number || !keys.contain(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clearing_drops_what_is_older_of_those_who_are_meant() {
        let id = |n: u8| TenantId::new(uuid::Uuid::from_bytes([n; 16]));
        let [m, n]: [SpaceId; 2] = ["m@3", "n@3"].map(|space| space.parse().unwrap());
        let cached = |stamp| Cached {
            vector: Bytes::from_static(&[1; 12]),
            tokens: TokenCount(1),
            provider: "p".into(),
            made: SystemTime::UNIX_EPOCH,
            kept: SystemTime::UNIX_EPOCH,
            stamp,
        };
        let cache = Cache::new(1 << 20, Duration::from_secs(60));
        let all: Vec<Key> = [(1, &m), (1, &n), (2, &m)]
            .iter()
            .flat_map(|(t, space)| ["old", "new"].map(|text| key_maker(id(*t), space, "").key(text)))
            .collect();
        let fill = || all.iter().zip([4, 5].repeat(3)).for_each(|(key, at)| cache.insert(*key, cached(at)));
        let left = || all.iter().map(|key| cache.get(key).is_some()).collect::<Vec<_>>();
        fill();
        let of = |tenant: u8, space: Option<&SpaceId>| {
            keys_of(&CacheClear { tenant: Some(id(tenant)), space: space.cloned(), ..CacheClear::default() })
        };
        cache.clear(&of(1, Some(&m)), 5);
        assert_eq!(left(), [false, true, true, true, true, true]);
        cache.clear(&of(1, None), 5);
        assert_eq!(left(), [false, true, false, true, true, true]);
        cache.clear(&Keys::default(), 6);
        assert_eq!(left(), [false; 6]);
    }
}
