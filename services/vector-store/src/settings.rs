//! What an operator can set.

use embermesh_postgres::PoolConfig;
use serde::{Deserialize, Serialize};

use crate::Element;

/// Settings of the vector store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The pool of requests.
    pub pool: PoolConfig,
    /// How spaces created from now on keep their vectors; existing ones stay as they are.
    pub element: Element,
    /// A search with at most this many candidates reads them all, even where there is an index.
    pub exact_max_rows: u32,
    /// The approximate index.
    pub hnsw: Hnsw,
    /// How long Redis is waited for; where it is stands under `redis`.
    pub redis: RedisTuning,
    /// Hours for which an idempotency key is remembered.
    pub request_hours: u32,
    /// Seconds between two rounds of background work.
    pub maintenance_seconds: u32,
}

/// When an HNSW index is built, and how. See pgvector's documentation for the trade-offs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hnsw {
    /// A month's partition of a space gets its index when it has this many rows.
    pub min_rows: u32,
    /// Links of a node, 2 to 100.
    pub m: u16,
    /// Candidates looked at for each new row, 4 to 1,000 and at least twice `m`.
    pub ef_construction: u16,
    /// Candidates looked at by a search, 1 to 1,000; a search for more rows looks at as many as it wants rows.
    pub ef_search: u16,
    /// Rows that a filtered search may visit before every candidate is read instead.
    pub max_scan_tuples: u32,
    /// Memory of a build. A graph that outgrows it is finished several times slower.
    pub build_memory_mb: u32,
    /// Extra processes of a build. They share `build_memory_mb` through `/dev/shm`, of which a container has 64 MB unless told
    /// otherwise: raise both together.
    pub build_workers: u16,
}

/// How long Redis is waited for: it saves time or is not worth asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisTuning {
    /// Milliseconds for an answer, for each 128 vectors.
    pub timeout_ms: u32,
    /// Failures in a row after which it is left alone.
    pub failures: u32,
    /// Milliseconds for which it is then left alone.
    pub rest_ms: u32,
}

impl Default for RedisTuning {
    fn default() -> Self {
        Self { timeout_ms: 15, failures: 3, rest_ms: 2_000 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pool: PoolConfig::default(),
            element: Element::Half,
            exact_max_rows: 10_000,
            hnsw: Hnsw::default(),
            redis: RedisTuning::default(),
            request_hours: 24,
            maintenance_seconds: 60,
        }
    }
}

impl Default for Hnsw {
    fn default() -> Self {
        Self {
            min_rows: 20_000,
            m: 16,
            ef_construction: 64,
            ef_search: 100,
            max_scan_tuples: 20_000,
            build_memory_mb: 256,
            build_workers: 0,
        }
    }
}

impl Hnsw {
    /// What is wrong with the numbers, if anything: PostgreSQL would say so only when the first index is built.
    pub(crate) fn mistake(&self) -> Option<String> {
        let ranges = [("m", self.m, 2..=100), ("ef_construction", self.ef_construction, 4..=1000)];
        for (name, value, range) in ranges.into_iter().chain([("ef_search", self.ef_search, 1..=1000)]) {
            if !range.contains(&value) {
                return Some(format!(
                    "hnsw.{name} is {value}, it must be {} to {}",
                    range.start(),
                    range.end()
                ));
            }
        }
        (self.ef_construction < 2 * self.m)
            .then(|| "hnsw.ef_construction must be at least twice hnsw.m".to_owned())
    }
}
