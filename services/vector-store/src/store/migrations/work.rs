//! Who works on a migration, and what workers report.

use std::time::{Duration, SystemTime};

use embermesh_errors::Error;
use embermesh_postgres::{DbError, Row, types::ToSql};
use embermesh_proto::internal::v1::{
    BeginBatchReply, ClaimedMigration, CountReply, MigrationStanding, MovedPin, ReportRequest,
};
use uuid::Uuid;

use super::{
    Side, Work,
    record::{COLUMNS, migration},
    taken,
};
use crate::{
    error::of_database,
    store::{Owner, Store},
};

impl Store {
    /// Takes the migration that has waited longest, for `lease`.
    pub(crate) async fn claim_migration(
        &self,
        worker: Uuid,
        lease: Duration,
    ) -> Result<Option<ClaimedMigration>, DbError> {
        let owner = self.pools.owner.system();
        let sql = format!(
            "WITH claimed AS (
                UPDATE migrations SET worker = $1, claimed_until = now() + $2 * interval '1 second'
                WHERE (tenant_id, shard_key, migration_id) IN (
                    SELECT tenant_id, shard_key, migration_id FROM migrations
                    WHERE state NOT IN ('finished', 'rolled_back', 'paused') AND next_at <= now()
                        AND (claimed_until IS NULL OR claimed_until < now())
                    ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
                RETURNING *)
            SELECT {}",
            COLUMNS.replace("FROM migrations m", "FROM claimed m")
        );
        let rows = owner.execute_returning(&sql, &[&worker, &lease.as_secs_f64()]).await?;
        rows.first().map(claimed).transpose()
    }

    /// Keeps the lease; how the migration stands.
    pub(crate) async fn hold_migration(&self, work: Work) -> Result<MigrationStanding, Error> {
        let sql = "UPDATE migrations SET claimed_until = now() + $5 * interval '1 second'
            WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3 AND worker = $4
            RETURNING state, budget_nano_usd, requests_per_minute, tokens_per_minute";
        let row = self.of_worker(work, sql, &[&work.lease.as_secs_f64()]).await?;
        let standing = || {
            Ok(MigrationStanding {
                state: row.try_get(0)?,
                copied: 0,
                budget_nano_usd: row.try_get(1)?,
                requests_per_minute: u32::try_from(row.try_get::<_, i32>(2)?).unwrap_or_default(),
                tokens_per_minute: row.try_get::<_, i64>(3)?.unsigned_abs(),
            })
        };
        standing().map_err(of_database)
    }

    /// Notes that texts are about to be embedded; whether that was noted before, without an end.
    pub(crate) async fn begin_batch(&self, work: Work) -> Result<BeginBatchReply, Error> {
        // the sub-select sees the row as it was
        let sql = "UPDATE migrations m SET in_flight = true, claimed_until = now() + $5 * interval '1 second'
            FROM (SELECT migration_id, in_flight FROM migrations
                WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3) before
            WHERE m.tenant_id = $1 AND m.shard_key = $2 AND m.migration_id = $3 AND m.worker = $4
                AND before.migration_id = m.migration_id
            RETURNING before.in_flight";
        let row = self.of_worker(work, sql, &[&work.lease.as_secs_f64()]).await?;
        Ok(BeginBatchReply { again: row.try_get(0).map_err(DbError::from).map_err(of_database)? })
    }

    /// Moves on to another state, or gives the migration back for a while. Nothing but the giving back happens when the state is
    /// another one by now.
    pub(crate) async fn report_migration(&self, work: Work, report: &ReportRequest) -> Result<String, Error> {
        let unreadable = |error| Error::internal(format!("a report cannot be written down: {error}"));
        let parity = report.parity.as_ref().map(serde_json::to_string).transpose().map_err(unreadable)?;
        let moved: Vec<[&str; 2]> =
            report.moved.iter().map(|pin| [pin.agent_id.as_str(), pin.task_type.as_str()]).collect();
        let moved = (!moved.is_empty()).then(|| serde_json::to_string(&moved)).transpose();
        let moved = moved.map_err(unreadable)?;
        let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (to, activity) = (set(&report.to), set(&report.activity));
        let (reason, message) = (set(&report.reason), set(&report.message));
        let left = report.rows_left.map(|left| i64::try_from(left).unwrap_or(i64::MAX));
        let release = report.release_for_ms.map(|ms| ms as f64 / 1000.0);
        let now = self.clock.now();
        let sql = "UPDATE migrations SET
                state = CASE WHEN state = $5 THEN coalesce($6, state) ELSE state END,
                paused_from = CASE WHEN state = $5 AND $6 = 'paused' THEN state ELSE paused_from END,
                activity = CASE WHEN state = $5 THEN $7 ELSE activity END,
                reason = CASE WHEN state = $5 THEN $8 ELSE reason END,
                message = CASE WHEN state = $5 THEN $9 ELSE message END,
                failing_since = CASE WHEN $10 THEN coalesce(failing_since, $11) END,
                rows_left = coalesce($12, rows_left),
                parity = CASE WHEN state = $5 THEN coalesce($13::text::json, parity) ELSE parity END,
                moved = coalesce($14::text::json, moved),
                ready_at = CASE WHEN state = $5 AND $6 = 'ready' THEN $11 ELSE ready_at END,
                cut_over_at = CASE WHEN state = $5 AND $6 = 'cut_over' THEN $11 ELSE cut_over_at END,
                ended_at = CASE WHEN state = $5 AND $6 IN ('finished', 'rolled_back') THEN $11 ELSE ended_at END,
                claimed_until = CASE WHEN $15::double precision IS NULL THEN now() + $16 * interval '1 second' END,
                -- another state is another's word, which waits for nothing
                next_at = CASE WHEN state = $5 AND $15 IS NOT NULL THEN now() + $15 * interval '1 second' ELSE next_at END
            WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3 AND worker = $4
            RETURNING state";
        let row = self
            .of_worker(
                work,
                sql,
                &[
                    &report.from,
                    &to,
                    &activity,
                    &reason,
                    &message,
                    &report.failing,
                    &now,
                    &left,
                    &parity,
                    &moved,
                    &release,
                    &work.lease.as_secs_f64(),
                ],
            )
            .await?;
        let state: String = row.try_get(0).map_err(DbError::from).map_err(of_database)?;
        if !report.to.is_empty() && report.to == state {
            tracing::info!(tenant = %work.tenant, migration = %work.id, from = report.from, to = state, reason, "a migration moved on");
        }
        Ok(state)
    }

    /// Counts both sides of a migration.
    pub(crate) async fn count_migration(&self, work: Work) -> Result<CountReply, Error> {
        let _timer = self.metrics.query("migration_count");
        let counted = async {
            let side = self.side(work, false).await?;
            let (owner, Side { source, target, agent }) = (Owner::of(work.tenant), &side);
            let sql = format!(
                "SELECT count(*), count(b.there), count(*) FILTER (WHERE b.there IS NULL AND f.embedding_id IS NULL),
                    count(*) FILTER (WHERE b.there IS NULL AND f.embedding_id IS NOT NULL)
                FROM {table} v
                    JOIN embedding_keys a ON a.tenant_id = $1 AND a.shard_key = $2 AND a.embedding_id = v.embedding_id
                        AND a.space_no = {from}
                    LEFT JOIN (SELECT dedup_hash, true AS there FROM embedding_keys
                        WHERE tenant_id = $1 AND shard_key = $2 AND space_no = {to}) b ON b.dedup_hash = a.dedup_hash
                    LEFT JOIN migration_failures f ON f.tenant_id = $1 AND f.shard_key = $2 AND f.migration_id = $3
                        AND f.embedding_id = v.embedding_id
                WHERE v.tenant_id = $1 AND v.shard_key = $2 AND ($4 = '' OR v.agent_id = $4)",
                table = source.table(),
                from = source.no,
                to = target.no
            );
            let row =
                self.session(owner).query_one(&sql, &[&owner.tenant, &owner.shard, &work.id, agent]).await?;
            let count = |at| Ok::<_, DbError>(row.try_get::<_, i64>(at)?.unsigned_abs());
            Ok::<_, DbError>(CountReply {
                rows_from: count(0)?,
                rows_to: count(1)?,
                missing: count(2)?,
                failed: count(3)?,
                index_is_due: self.has_due_index(target).await?,
            })
        };
        counted.await.map_err(of_database)
    }

    /// One writing statement about a migration, whose first four parameters are whose it is and which worker's.
    async fn of_worker(&self, work: Work, sql: &str, more: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        let owner = Owner::of(work.tenant);
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![&owner.tenant, &owner.shard, &work.id, &work.worker];
        parameters.extend(more);
        let mut rows = self.session(owner).execute_returning(sql, &parameters).await.map_err(of_database)?;
        rows.pop().ok_or_else(taken)
    }
}

fn claimed(row: &Row) -> Result<ClaimedMigration, DbError> {
    let moved: String = row.try_get(32)?;
    let moved: Vec<[String; 2]> = serde_json::from_str(&moved)
        .map_err(|error| DbError::Protocol(format!("the pins of a migration are unreadable: {error}")))?;
    let cursor: Option<Uuid> = row.try_get(31)?;
    let (failing_since, cutting_since): (Option<SystemTime>, Option<SystemTime>) =
        (row.try_get(33)?, row.try_get(34)?);
    Ok(ClaimedMigration {
        tenant_id: row.try_get::<_, Uuid>(29)?.to_string(),
        key_id: row.try_get(30)?,
        migration: Some(migration(row)?),
        cursor: cursor.map(|cursor| cursor.to_string()).unwrap_or_default(),
        moved: moved.into_iter().map(|[agent_id, task_type]| MovedPin { agent_id, task_type }).collect(),
        failing_since: failing_since.map(Into::into),
        cutting_since: cutting_since.map(Into::into),
    })
}
