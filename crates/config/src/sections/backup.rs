//! `backup`: when and whereto, as the operations guide writes it.

use serde::{Deserialize, Serialize};

/// `backup`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backup {
    /// The database.
    pub postgres: Option<BackupTarget>,
    /// The cache.
    pub redis: Option<BackupTarget>,
}

/// One backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupTarget {
    /// Cron expression.
    pub schedule: String,
    /// Days.
    pub retention: u32,
    /// How, such as `pg_dump` or `bgsave`.
    pub method: String,
    /// URL of the target.
    pub storage: String,
}
