//! Jobs and who works on them.

use std::time::{Duration, SystemTime};

use embermesh_errors::Error;
use embermesh_postgres::{DbError, Row, types::ToSql};
use embermesh_types::TenantId;
use uuid::Uuid;

use super::{Owner, Store};
use crate::{
    domain::job::{Claimed, Progress, Status, Task},
    error::of_database,
};

/// How often a job is begun before it counts as failed: it may be what takes its workers down.
const ATTEMPTS: i32 = 5;
/// How long a job can be asked about after its end.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

impl Store {
    /// Writes a job down.
    pub(crate) async fn add_job(&self, tenant: TenantId, task: &Task) -> Result<Uuid, Error> {
        let (owner, id) = (Owner::of(tenant), Uuid::now_v7());
        let request = serde_json::to_string(task)
            .map_err(|error| Error::internal(format!("a job cannot be written down: {error}")))?;
        let sql = "INSERT INTO jobs (tenant_id, shard_key, job_id, kind, request, state, created_at)
            VALUES ($1, $2, $3, $4, $5::text::json, 'queued', $6)";
        let now = self.clock.now();
        let (kind, session) = (task.kind(), self.session(owner));
        let added = session.execute(sql, &[&owner.tenant, &owner.shard, &id, &kind, &request, &now]).await;
        added.map(|_| id).map_err(of_database)
    }

    /// A job of a tenant.
    pub(crate) async fn job(&self, tenant: TenantId, id: Uuid) -> Result<Option<Status>, Error> {
        let owner = Owner::of(tenant);
        let sql =
            "SELECT job_id, kind, state, done, total, changed, note, created_at, started_at, finished_at
            FROM jobs WHERE tenant_id = $1 AND shard_key = $2 AND job_id = $3";
        let found = self.session(owner).query_opt(sql, &[&owner.tenant, &owner.shard, &id]).await;
        found.and_then(|row| row.map(|row| status(&row)).transpose()).map_err(of_database)
    }

    /// Takes the oldest job that nobody works on, for `lease`. One that has been begun too often fails instead.
    pub(crate) async fn claim_job(&self, worker: Uuid, lease: Duration) -> Result<Option<Claimed>, DbError> {
        let owner = self.pools.owner.system();
        let now = self.clock.now();
        let given_up = "UPDATE jobs SET state = 'failed', finished_at = $1,
                note = 'whoever worked on it did not come to its end, ' || attempts || ' times'
            WHERE state = 'running' AND claimed_until < now() AND attempts >= $2";
        owner.execute(given_up, &[&now, &ATTEMPTS]).await?;
        let sql = "UPDATE jobs SET state = 'running', worker = $1, claimed_until = now() + $2 * interval '1 second',
                attempts = attempts + 1, started_at = coalesce(started_at, $3), done = 0, total = NULL, changed = 0
            WHERE (tenant_id, shard_key, job_id) IN (
                SELECT tenant_id, shard_key, job_id FROM jobs
                WHERE state = 'queued' OR (state = 'running' AND claimed_until < now())
                ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING tenant_id, job_id, request::text";
        let seconds = lease.as_secs_f64();
        let rows = owner.execute_returning(sql, &[&worker, &seconds, &now]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (tenant, id): (Uuid, Uuid) = (row.try_get(0)?, row.try_get(1)?);
        let request: String = row.try_get(2)?;
        match serde_json::from_str(&request) {
            Ok(task) => Ok(Some(Claimed { tenant: TenantId::new(tenant), id, task })),
            Err(error) => {
                let note = format!("this build does not know the job: {error}");
                self.end_job(worker, TenantId::new(tenant), id, "failed", Progress::default(), Some(&note))
                    .await?;
                Ok(None)
            }
        }
    }

    /// Tells how far a job is, and holds it for another `lease`. `false`: somebody else has it by now.
    pub(crate) async fn hold_job(
        &self,
        worker: Uuid,
        job: &Claimed,
        progress: Progress,
        lease: Duration,
    ) -> Result<bool, DbError> {
        let sql = "UPDATE jobs SET done = $5, total = $6, changed = $7,
                claimed_until = now() + $8 * interval '1 second'
            WHERE tenant_id = $1 AND shard_key = $2 AND job_id = $3 AND worker = $4 AND state = 'running'";
        let Owner { tenant, shard } = Owner::of(job.tenant);
        let [done, total, changed] = numbers(progress);
        let seconds = lease.as_secs_f64();
        let parameters: [&(dyn ToSql + Sync); 8] =
            [&tenant, &shard, &job.id, &worker, &done, &total, &changed, &seconds];
        Ok(self.pools.owner.system().execute(sql, &parameters).await? > 0)
    }

    /// Holds a job for another `lease` in the middle of a long step.
    pub(crate) async fn keep_job(
        &self,
        worker: Uuid,
        job: &Claimed,
        lease: Duration,
    ) -> Result<bool, DbError> {
        let sql = "UPDATE jobs SET claimed_until = now() + $5 * interval '1 second'
            WHERE tenant_id = $1 AND shard_key = $2 AND job_id = $3 AND worker = $4 AND state = 'running'";
        let Owner { tenant, shard } = Owner::of(job.tenant);
        let seconds = lease.as_secs_f64();
        let parameters: [&(dyn ToSql + Sync); 5] = [&tenant, &shard, &job.id, &worker, &seconds];
        Ok(self.pools.owner.system().execute(sql, &parameters).await? > 0)
    }

    /// Ends a job, if it is still `worker`'s.
    pub(crate) async fn end_job(
        &self,
        worker: Uuid,
        tenant: TenantId,
        id: Uuid,
        state: &str,
        progress: Progress,
        note: Option<&str>,
    ) -> Result<(), DbError> {
        let sql =
            "UPDATE jobs SET state = $5, done = $6, total = $7, changed = $8, note = $9, finished_at = $10
            WHERE tenant_id = $1 AND shard_key = $2 AND job_id = $3 AND worker = $4 AND state = 'running'";
        let Owner { tenant, shard } = Owner::of(tenant);
        let [done, total, changed] = numbers(progress);
        let now = self.clock.now();
        let parameters: [&(dyn ToSql + Sync); 10] =
            [&tenant, &shard, &id, &worker, &state, &done, &total, &changed, &note, &now];
        self.pools.owner.system().execute(sql, &parameters).await.map(drop)
    }

    /// Gives a job back, for whoever comes next.
    pub(crate) async fn release_job(&self, worker: Uuid, job: &Claimed) -> Result<(), DbError> {
        let sql = "UPDATE jobs SET state = 'queued', attempts = attempts - 1
            WHERE tenant_id = $1 AND shard_key = $2 AND job_id = $3 AND worker = $4 AND state = 'running'";
        let Owner { tenant, shard } = Owner::of(job.tenant);
        self.pools.owner.system().execute(sql, &[&tenant, &shard, &job.id, &worker]).await.map(drop)
    }

    /// Forgets jobs that ended long ago.
    pub(crate) async fn expire_jobs(&self) -> Result<(), DbError> {
        let before = self.clock.now().checked_sub(KEEP).unwrap_or(SystemTime::UNIX_EPOCH);
        let sql = "DELETE FROM jobs WHERE finished_at < $1";
        self.pools.owner.system().execute(sql, &[&before]).await.map(drop)
    }
}

/// Done, total and changed as PostgreSQL counts.
fn numbers(progress: Progress) -> [Option<i64>; 3] {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    [Some(number(progress.done)), progress.total.map(number), Some(number(progress.changed))]
}

fn status(row: &Row) -> Result<Status, DbError> {
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    Ok(Status {
        id: row.try_get(0)?,
        kind: row.try_get(1)?,
        state: row.try_get(2)?,
        progress: Progress {
            done: count(row.try_get(3)?),
            total: row.try_get::<_, Option<i64>>(4)?.map(count),
            changed: count(row.try_get(5)?),
        },
        note: row.try_get(6)?,
        created_at: row.try_get(7)?,
        started_at: row.try_get(8)?,
        finished_at: row.try_get(9)?,
    })
}
