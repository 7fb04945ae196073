//! Vectors and leases on real Redis: one node, and a cluster of three.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod away;
mod cluster;
mod figures;
mod leases;
mod memory;
mod sweep;
mod vectors;

use std::time::{Duration, Instant};

use embermesh_cache::{Away, Facts, Kept, RedisCache, RedisSettings, VectorKey};
use embermesh_lifecycle::Tasks;
use embermesh_vector_key::LENGTH;

/// How long anything may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// With time enough for every answer: what is tested is not the speed of this machine.
fn patient(url: &str) -> RedisSettings {
    RedisSettings {
        url: Some(url.into()),
        command_timeout: Duration::from_secs(5),
        rest: Duration::from_millis(50),
        ..RedisSettings::default()
    }
}

async fn connected(settings: &RedisSettings) -> RedisCache {
    let cache = RedisCache::connect(settings, &Tasks::new()).unwrap();
    until_answered(&cache).await;
    until_put(&cache, &all_of(0..1)).await;
    cache
}

async fn until_answered(cache: &RedisCache) {
    let end = Instant::now() + PATIENCE;
    while let Err(away) = cache.get_many(&[key(0)]).await {
        assert!(Instant::now() < end, "{away}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The connection of writes may come up later than that of reads.
async fn until_put(cache: &RedisCache, vectors: &[(VectorKey, Kept)]) {
    let end = Instant::now() + PATIENCE;
    while let Err(away) = cache.put_many(vectors, TTL).await {
        assert!(Instant::now() < end, "{away}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Different keys in different buckets.
fn key(n: u32) -> VectorKey {
    let mut bytes = [0; LENGTH];
    bytes[12] = n.to_le_bytes()[0];
    // the end makes the jitter
    bytes[LENGTH - 4..].copy_from_slice(&n.wrapping_mul(0x9e37_79b1).to_le_bytes());
    VectorKey(bytes)
}

fn kept(n: u32) -> Kept {
    let vector: Vec<u8> = (0..4_u32).flat_map(|at| (n as f32 + at as f32).to_le_bytes()).collect();
    let facts = Facts {
        tokens: u64::from(n),
        deployment: format!("deployment-{n}"),
        made_unix_ms: i64::from(n) - 5,
        kept_unix_ms: i64::from(n),
        stamp: i64::from(n) + 5,
    };
    Kept::new(vector.into(), facts).unwrap()
}

fn all_of(range: std::ops::Range<u32>) -> Vec<(VectorKey, Kept)> {
    range.map(|n| (key(n), kept(n))).collect()
}

const TTL: Duration = Duration::from_secs(1000);
