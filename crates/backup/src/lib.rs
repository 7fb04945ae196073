//! Backups of PostgreSQL and Redis, and the way back: where they are kept, what they hold, and how one is told from half of one.
//!
//! A backup is a folder of files and, written last, `manifest.json`, which names every file with its hash: without it nothing is a
//! backup. The programs are PostgreSQL's own (`pg_dump`, `pg_basebackup`, `pg_verifybackup`) and `redis-cli`; this crate brings their
//! files to a folder or to S3, and checks what comes back.
//!
//! Not here: which database is configured, and what a restored ledger has to do (`standalone` and the ledger).

mod base;
mod catalogue;
mod directory;
mod error;
mod logical;
mod manifest;
mod programs;
mod redis;
mod s3;
mod schedule;
mod storage;
mod taking;
mod wal;

pub use base::{Recovery, recover, take as take_base, unpack};
pub use catalogue::{Catalogue, Checked, Listed, Pruned};
pub use error::BackupError;
pub use logical::{restore as restore_logical, take as take_logical};
pub use manifest::{Database, Kind, Manifest, Server};
pub use redis::{Instance, take as take_redis};
pub use schedule::{Schedule, ScheduleError};
pub use storage::Storage;
pub use taking::Extra;
pub use wal::{Fetched, Pushed, Wal};
