//! `redis`: where it is, and what may be cached there for how long.

use serde::{Deserialize, Serialize};

use crate::{Secret, Span};

/// `redis`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// One node, or one of a cluster, by which the others are found: `redis://user:password@host:port`, `rediss://` for TLS.
    pub url: Option<Secret>,
    /// Nodes of a cluster, `host:port`.
    pub cluster_endpoints: Vec<String>,
    /// By kind of entry.
    pub cache_strategies: CacheStrategies,
}

/// `redis.cache_strategies`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheStrategies {
    /// Vectors.
    pub embeddings: EmbeddingCache,
    /// Provider health.
    pub provider_health: HealthCache,
}

/// `redis.cache_strategies.embeddings`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingCache {
    /// How long vectors are served. Absent: `embedding.router.cache_ttl`.
    pub ttl: Option<Span>,
    /// Of each node, such as `4gb`; Redis is told. Absent: as it is set there.
    pub max_memory: Option<String>,
    /// Redis' name of the policy by which it makes room; Redis is told. Absent: as it is set there.
    pub eviction_policy: Option<String>,
}

/// `redis.cache_strategies.provider_health`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCache {
    /// How long what was heard of providers counts while no router tells anything. Absent: until one does.
    pub ttl: Option<Span>,
    /// Deployments that are remembered at most.
    pub max_entries: Option<u32>,
}
