//! When backups and drills came to a good end, and what PostgreSQL says of its archiving.

use std::time::SystemTime;

use embermesh_postgres::DbError;

use super::Store;

/// A backup, or a drill, that came to a good end.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupRun {
    /// `logical`, `base`, `redis` or `drill`.
    pub kind: String,
    /// When.
    pub succeeded_at: SystemTime,
    /// How large it is.
    pub bytes: i64,
    /// Of a drill: seconds of work that the restored system lacked.
    pub rpo_seconds: Option<f64>,
    /// Of a drill: seconds until it answered.
    pub rto_seconds: Option<f64>,
}

/// PostgreSQL's own account of its archiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Archiving {
    pub(crate) last: Option<SystemTime>,
    pub(crate) failures: i64,
}

impl Store {
    /// Remembers the last of its kind.
    pub(crate) async fn record_backup(&self, run: &BackupRun) -> Result<(), DbError> {
        let sql = "INSERT INTO backup_runs (kind, succeeded_at, bytes, rpo_seconds, rto_seconds) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (kind) DO UPDATE SET succeeded_at = excluded.succeeded_at, bytes = excluded.bytes,
                rpo_seconds = excluded.rpo_seconds, rto_seconds = excluded.rto_seconds";
        let BackupRun { kind, succeeded_at, bytes, rpo_seconds, rto_seconds } = run;
        let session = self.database.system();
        session.execute(sql, &[kind, succeeded_at, bytes, rpo_seconds, rto_seconds]).await.map(drop)
    }

    pub(crate) async fn backup_runs(&self) -> Result<Vec<BackupRun>, DbError> {
        let sql = "SELECT kind, succeeded_at, bytes, rpo_seconds, rto_seconds FROM backup_runs ORDER BY kind";
        let rows = self.database.system().query(sql, &[]).await?;
        let run = |row: &embermesh_postgres::Row| {
            Ok(BackupRun {
                kind: row.try_get(0)?,
                succeeded_at: row.try_get(1)?,
                bytes: row.try_get(2)?,
                rpo_seconds: row.try_get(3)?,
                rto_seconds: row.try_get(4)?,
            })
        };
        rows.iter().map(run).collect()
    }

    /// `None`: nothing is archived.
    pub(crate) async fn archiving(&self) -> Result<Option<Archiving>, DbError> {
        let sql = "SELECT last_archived_time, failed_count FROM pg_stat_archiver
            WHERE current_setting('archive_mode') <> 'off'";
        let row = self.database.system().query_opt(sql, &[]).await?;
        row.map(|row| Ok(Archiving { last: row.try_get(0)?, failures: row.try_get(1)? })).transpose()
    }
}
