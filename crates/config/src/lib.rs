//! Configuration: one YAML file, `${VAR}` in its values, `EMBERMESH__SECTION__KEY` and the well-known variables over it, and the
//! result as typed sections. Unknown keys are refused. Services take their sections; none reads the environment by itself.

mod dump;
mod environment;
mod expand;
mod load;
mod secret;
mod sections {
    pub(crate) mod backup;
    pub(crate) mod credential_keys;
    pub(crate) mod database;
    pub(crate) mod embedding;
    pub(crate) mod provider_hosts;
    pub(crate) mod provider_options;
    pub(crate) mod redis;
    pub(crate) mod server;
}
mod span;

pub use load::{Config, ConfigError, Described, Source};
pub use secret::Secret;
pub use sections::{
    backup::{Backup, BackupTarget},
    credential_keys::UnusableKeys,
    database::{Database, ReplicaPool},
    embedding::{
        CircuitBreaker, Embedding, KeyRotation, Provider, ProviderKind, RateLimit, Router, Security,
    },
    redis::{CacheStrategies, EmbeddingCache, HealthCache, Redis},
    server::{Server, Services},
};
pub use span::Span;
