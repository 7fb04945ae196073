//! Where vectors are kept: in this process, and in Redis for all of them. What either holds is only ever a vector that was paid for
//! once and would come out the same again.

use std::{sync::Arc, time::Duration};

use embermesh_lifecycle::Tasks;
use embermesh_types::{Clock, SpaceId};

use crate::{
    cache::{Cache, Cached, Key},
    freshness::Freshness,
    hashing::HashMap,
    kept::Kept,
    metrics::RouterMetrics,
    suspicion::Suspicions,
    text::{Text, Vector},
};

/// Both tiers.
#[derive(Debug, Clone)]
pub(crate) struct Tiers {
    pub memory: Cache,
    pub redis: Kept,
    pub suspicions: Arc<Suspicions>,
    pub metrics: RouterMetrics,
    pub tasks: Tasks,
    pub clock: Clock,
    /// How old a vector may be.
    pub freshness: Arc<Freshness>,
}

/// What may be served to one agent.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub space: &'a SpaceId,
    pub max_age: Duration,
    /// Number of the last order to clear that is about it.
    pub floor: i64,
}

impl Tiers {
    fn may_serve(&self, wanted: &Wanted<'_>, cached: &Cached) -> bool {
        cached.stamp >= wanted.floor
            && self.freshness.allows(cached.age(self.clock.now()), wanted.max_age)
            && self.suspicions.allow(wanted.space, cached)
    }

    /// What this process keeps.
    pub fn in_memory(&self, key: &Key, wanted: &Wanted<'_>) -> Option<Cached> {
        self.memory.get(key).filter(|cached| self.may_serve(wanted, cached))
    }

    /// What Redis keeps of `keys`, in one round trip; nothing while it is away.
    pub async fn in_redis(&self, keys: &[Key], wanted: &Wanted<'_>) -> HashMap<Key, Cached> {
        if keys.is_empty() || !self.redis.is_there() {
            return HashMap::default();
        }
        let found = self.redis.get(keys).await;
        let found = keys.iter().zip(found).filter_map(|(key, cached)| Some((*key, cached?)));
        let found: HashMap<Key, Cached> =
            found.filter(|(_, cached)| self.may_serve(wanted, cached)).collect();
        for (key, cached) in &found {
            self.memory.insert(*key, cached.clone());
        }
        self.metrics.redis_hits.inc_by(found.len() as u64);
        self.metrics.redis_misses.inc_by((keys.len() - found.len()) as u64);
        found
    }

    /// What this process still keeps, whatever its age, unless it was cleared: for agents that prefer it to a failure.
    pub fn at_any_age(&self, key: &Key, space: &SpaceId, floor: i64) -> Option<Cached> {
        let may_serve = |cached: &Cached| cached.stamp >= floor && self.suspicions.allow(space, cached);
        self.memory.get(key).filter(may_serve)
    }

    /// Keeps what came back, where it may be kept.
    pub fn keep(&self, texts: &[Text], vectors: &[Vector]) {
        let keep = texts.iter().zip(vectors).filter(|(text, _)| text.keep);
        let keep: Vec<(Key, Cached)> = keep.map(|(text, vector)| (text.key, vector.cached.clone())).collect();
        for (key, cached) in &keep {
            self.memory.insert(*key, cached.clone());
        }
        if !keep.is_empty() && self.redis.is_there() {
            let (redis, ttl) = (self.redis.clone(), self.freshness.keep_for());
            self.tasks.spawn("keep in redis", async move { redis.put(keep, ttl).await });
        }
    }
}

#[cfg(test)]
mod tests;
