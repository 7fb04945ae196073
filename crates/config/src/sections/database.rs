//! `database`: where PostgreSQL is and how many connections a process may hold.

use std::num::NonZeroUsize;

use embermesh_postgres::{PoolConfig, ReplicaSet, ReplicaSettings};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, Secret, Span};

/// `database`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `postgresql://user:password@host:port/database`; wins over the single parts.
    pub url: Option<Secret>,
    /// Host name.
    pub host: Option<String>,
    /// Port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password.
    pub password: Option<Secret>,
    /// Database.
    pub name: String,
    /// disable, prefer, require, verify-ca or verify-full.
    pub ssl_mode: String,
    /// A database of its own for money.
    pub ledger_url: Option<Secret>,
    /// A database of its own for vectors.
    pub store_url: Option<Secret>,
    /// A database of its own for configuration.
    pub admin_url: Option<Secret>,
    /// Per process.
    pub pool: PoolConfig,
    /// Per process and replica.
    pub read_replica_pool: ReplicaPool,
}

/// `database.read_replica_pool`: streaming replicas of the database of the vectors, for reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicaPool {
    /// One for each replica; none: the primary serves all reads.
    pub urls: Vec<Secret>,
    /// To each replica; absent: as `database.pool`.
    pub max_open_conns: Option<NonZeroUsize>,
    /// To each replica; absent: as `database.pool`.
    pub max_idle_conns: Option<usize>,
    /// Between two looks at how far a replica has come.
    pub poll_interval: Span,
    /// A replica that does not say for this long how far it has come is lost until it does.
    pub lost_after: Span,
    /// How long a read waits for a replica that has its write, before it goes to the primary.
    pub wait: Span,
    /// A replica that is further behind serves no eventual reads.
    pub max_lag: Span,
}

impl Default for ReplicaPool {
    fn default() -> Self {
        let ReplicaSettings { max_open_conns, max_idle_conns, poll_interval, lost_after, wait, max_lag } =
            ReplicaSettings::default();
        Self {
            urls: Vec::new(),
            max_open_conns,
            max_idle_conns,
            poll_interval: Span(poll_interval),
            lost_after: Span(lost_after),
            wait: Span(wait),
            max_lag: Span(max_lag),
        }
    }
}

impl ReplicaPool {
    /// For the pools.
    pub fn set(&self) -> ReplicaSet {
        ReplicaSet {
            urls: self.urls.iter().map(|url| url.as_secret().clone()).collect(),
            settings: ReplicaSettings {
                max_open_conns: self.max_open_conns,
                max_idle_conns: self.max_idle_conns,
                poll_interval: self.poll_interval.0,
                lost_after: self.lost_after.0,
                wait: self.wait.0,
                max_lag: self.max_lag.0,
            },
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            port: 5432,
            user: "postgres".to_owned(),
            password: None,
            name: "embeddings".to_owned(),
            ssl_mode: "prefer".to_owned(),
            ledger_url: None,
            store_url: None,
            admin_url: None,
            pool: PoolConfig::default(),
            read_replica_pool: ReplicaPool::default(),
        }
    }
}

impl Database {
    /// The connection URL, when a database is configured at all.
    pub fn connection_url(&self) -> Option<Secret> {
        if let Some(url) = &self.url {
            return Some(url.clone());
        }
        let host = self.host.as_ref()?;
        let escape =
            |text: &str| -> String {
                text.bytes()
                    .map(|b| {
                        if b.is_ascii_alphanumeric() {
                            char::from(b).to_string()
                        } else {
                            format!("%{b:02X}")
                        }
                    })
                    .collect()
            };
        let password = self.password.as_ref().map(|p| format!(":{}", escape(p.reveal()))).unwrap_or_default();
        Some(Secret::new(format!(
            "postgresql://{}{password}@{host}:{}/{}?sslmode={}",
            escape(&self.user),
            self.port,
            escape(&self.name),
            self.ssl_mode
        )))
    }

    /// Where the vectors are.
    pub fn for_store(&self) -> Result<SecretString, ConfigError> {
        self.of(self.store_url.as_ref())
    }

    /// Where the money is.
    pub fn for_ledger(&self) -> Result<SecretString, ConfigError> {
        self.of(self.ledger_url.as_ref())
    }

    /// Where the configuration is.
    pub fn for_admin(&self) -> Result<SecretString, ConfigError> {
        self.of(self.admin_url.as_ref())
    }

    fn of(&self, own: Option<&Secret>) -> Result<SecretString, ConfigError> {
        let url = own.cloned().or_else(|| self.connection_url()).ok_or(ConfigError::NoDatabase)?;
        Ok(url.as_secret().clone())
    }
}
