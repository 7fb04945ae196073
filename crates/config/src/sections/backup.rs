//! `backup`: when and whereto, as the operations guide writes it.

use serde::{Deserialize, Serialize};

use crate::Span;

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
    /// URL of the target: `s3://bucket/prefix`, or an absolute path.
    pub storage: String,
    /// Of PostgreSQL that runs within `embermesh up`: a segment of its log is archived after so long, full or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_timeout: Option<Span>,
}

impl Backup {
    /// What cannot be meant: the key, and why.
    pub(crate) fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let place = |target: &BackupTarget| {
            target.storage.starts_with("s3://")
                || target.storage.strip_prefix("file://").unwrap_or(&target.storage).starts_with('/')
        };
        if let Some(postgres) = &self.postgres {
            if !matches!(postgres.method.as_str(), "pg_dump" | "pg_basebackup") {
                return Some(("backup.postgres.method", "choose from pg_dump, pg_basebackup"));
            }
            if !place(postgres) {
                return Some(("backup.postgres.storage", "write s3://bucket/prefix or an absolute path"));
            }
            if postgres.retention == 0 {
                return Some(("backup.postgres.retention", "keep backups for a day or more"));
            }
        }
        if let Some(redis) = &self.redis {
            if redis.method != "bgsave" {
                return Some(("backup.redis.method", "the method of Redis is bgsave"));
            }
            if !place(redis) {
                return Some(("backup.redis.storage", "write s3://bucket/prefix or an absolute path"));
            }
            if redis.retention == 0 {
                return Some(("backup.redis.retention", "keep backups for a day or more"));
            }
            if redis.archive_timeout.is_some() {
                return Some(("backup.redis.archive_timeout", "only PostgreSQL has a log to archive"));
            }
        }
        None
    }
}
