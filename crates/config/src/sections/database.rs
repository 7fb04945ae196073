//! `database`: where PostgreSQL is and how many connections a process may hold.

use std::num::NonZeroUsize;

use embermesh_postgres::PoolConfig;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, Secret};

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
    /// Per process.
    pub read_replica_pool: ReplicaPool,
}

/// `database.read_replica_pool`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicaPool {
    /// Absent: no replica.
    pub url: Option<Secret>,
    /// Absent: as `database.pool`.
    pub max_open_conns: Option<NonZeroUsize>,
    /// Absent: as `database.pool`.
    pub max_idle_conns: Option<usize>,
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
