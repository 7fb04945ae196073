//! What a backup holds. The manifest is written last: what has none is half of a backup.

use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::BackupError;

/// Of the manifests that this release writes and reads.
pub(crate) const FORMAT: u32 = 1;

/// What kind of backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `pg_dump`: the state of one moment, for any later PostgreSQL.
    Logical,
    /// `pg_basebackup`: with the archived log, any moment since; for the same major version.
    Base,
    /// The snapshot of Redis.
    Redis,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Logical, Self::Base, Self::Redis];

    /// As it is typed, and as names of backups begin.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logical => "logical",
            Self::Base => "base",
            Self::Redis => "redis",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| "choose from logical, base, redis".to_owned())
    }
}

/// A whole backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub(crate) format: u32,
    /// The name of its folder.
    pub id: String,
    /// What kind.
    pub kind: Kind,
    /// When it was begun; a logical one holds what was committed by then.
    pub begun_at: Timestamp,
    /// When it was complete; a base backup can be brought to any later moment.
    pub finished_at: Timestamp,
    /// Of PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// In it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<Database>,
    /// Everything that belongs to it.
    pub files: Vec<File>,
}

/// The PostgreSQL that was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Such as `16.14`.
    pub version: String,
    /// Which cluster: no two have the same.
    pub system_identifier: String,
    /// Its history.
    pub timeline: u32,
    /// Its write-ahead position when the backup began.
    pub lsn: String,
    /// Bytes of a segment of its log.
    pub segment_bytes: u64,
    /// Who made the backup.
    pub user: String,
    /// The first segment of the log that a base backup needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_from: Option<String>,
}

/// A database of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// The schemas of Embermesh in it, each with the number of its last migration.
    pub schemas: BTreeMap<String, i32>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Below the backup's folder.
    pub name: String,
    /// How large it is.
    pub bytes: u64,
    /// BLAKE3, in hexadecimal digits.
    pub blake3: String,
}

impl Manifest {
    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(crate) fn read(id: &str, text: &[u8]) -> Result<Self, BackupError> {
        let manifest: Self = serde_json::from_slice(text)
            .map_err(|error| BackupError::Damaged(format!("the manifest of {id} cannot be read: {error}")))?;
        if manifest.format != FORMAT {
            let format = manifest.format;
            let why = format!(
                "{id} has format {format}, this release reads {FORMAT}: use the release that wrote it"
            );
            return Err(BackupError::Damaged(why));
        }
        if manifest.id != id {
            return Err(BackupError::Damaged(format!("the manifest of {id} is that of {}", manifest.id)));
        }
        Ok(manifest)
    }
}
