//! Where Redis is and how long it may take.

use std::time::Duration;

use secrecy::SecretString;

use crate::ServerMemory;

/// How Redis is reached.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://user:password@host:port/database`, or `rediss://` for TLS. With `endpoints` only its credentials and TLS count.
    pub url: Option<SecretString>,
    /// Nodes of a cluster, `host:port`. A single one may as well be a node without a cluster.
    pub endpoints: Vec<String>,
    /// Longest wait for an answer; large batches get a multiple.
    pub command_timeout: Duration,
    /// Failures in a row after which it is left alone.
    pub failures: u32,
    /// For how long it is then left alone.
    pub rest: Duration,
    /// What the nodes are told.
    pub memory: ServerMemory,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: None,
            endpoints: Vec::new(),
            command_timeout: Duration::from_millis(15),
            failures: 3,
            rest: Duration::from_secs(2),
            memory: ServerMemory::default(),
        }
    }
}

impl RedisSettings {
    /// Whether it says where Redis is.
    pub fn is_configured(&self) -> bool {
        self.url.is_some() || !self.endpoints.is_empty()
    }
}

/// A setting that cannot be used. Shows no value: a URL may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The URL is not one of Redis.
    #[error("redis.url cannot be used: {0}; write redis://user:password@host:port/database")]
    Url(String),
    /// An endpoint is not `host:port`.
    #[error("redis.cluster_endpoints: '{0}' is not host:port")]
    Endpoint(String),
    /// Neither is set.
    #[error("redis is not configured: set redis.url or redis.cluster_endpoints")]
    Missing,
    /// No size as Redis writes it.
    #[error(
        "redis.cache_strategies.embeddings.max_memory: '{0}' is no size, write it as redis does: 4gb, 512mb"
    )]
    MaxMemory(String),
    /// No policy that Redis has.
    #[error("redis.cache_strategies.embeddings.eviction_policy: '{0}' is none of {1}")]
    Policy(String, String),
    /// The client refuses the rest.
    #[error("redis cannot be set up: {0}")]
    Client(String),
}
