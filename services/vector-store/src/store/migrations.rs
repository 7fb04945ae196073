//! Migrations between spaces: what is asked of them, how far they are, and who works on them.

mod commit;
mod compare;
mod drop;
mod measure;
mod record;
mod scan;
mod work;

use std::sync::Arc;

use embermesh_errors::{Code, Error};
use embermesh_postgres::{DbError, Transaction, types::ToSql};
use embermesh_proto::{internal::v1::ChangeMigrationRequest, v1};
use embermesh_types::{AgentId, KeyId, TenantId};
use uuid::Uuid;

use self::record::{COLUMNS, migration};
pub(crate) use self::{
    commit::{Batch, Copy},
    scan::Window,
};
use super::{Owner, Store, spaces::Space};
use crate::{
    domain::migration::{self as rules, Action, NewMigration, Stand},
    error::of_database,
};

/// States in which nothing more happens.
const OVER: &str = "('finished', 'rolled_back')";

/// What a worker works on.
pub(super) struct Side {
    /// Where rows are read, and where their equals are looked for.
    pub(super) source: Arc<Space>,
    pub(super) target: Arc<Space>,
    /// Empty: every agent.
    pub(super) agent: String,
}

/// Whose call it is, and which worker's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) tenant: TenantId,
    pub(crate) id: Uuid,
    pub(crate) worker: Uuid,
    pub(crate) lease: std::time::Duration,
}

impl Store {
    /// Writes a migration down.
    ///
    /// # Errors
    /// `conflict` while another one that is not over has rows in common.
    pub(crate) async fn create_migration(
        &self,
        tenant: TenantId,
        key: &KeyId,
        new: &NewMigration,
    ) -> Result<v1::Migration, Error> {
        let from = self.space(&new.from).await.map_err(of_database)?;
        let from = from.ok_or_else(|| {
            Error::not_found(format!("nothing was ever stored in {}", new.from)).with_param("from_space_id")
        })?;
        let to = self.space_or_create(&new.to).await.map_err(of_database)?;
        let (owner, id, asked) = (Owner::of(tenant), Uuid::now_v7(), &new.asked);
        let agent = new.agent.as_ref().map_or("", AgentId::as_str);
        let begin = async {
            let transaction = self.session(owner).begin().await?;
            let lock = "SELECT pg_advisory_xact_lock(hashtext('embermesh store migrations ' || $1))";
            transaction.query_one(lock, &[&owner.tenant.to_string()]).await?;
            let live = format!(
                "SELECT migration_id FROM migrations WHERE tenant_id = $1 AND shard_key = $2
                    AND state NOT IN {OVER} AND (agent_id = $3 OR agent_id = '' OR $3 = '') LIMIT 1"
            );
            if let Some(row) = transaction.query_opt(&live, &[&owner.tenant, &owner.shard, &agent]).await? {
                return Ok(Err(row.try_get::<_, Uuid>(0)?));
            }
            let sql = "INSERT INTO migrations (tenant_id, shard_key, migration_id, agent_id, from_space, to_space, to_model,
                    key_id, state, activity, on_too_long, min_overlap, budget_nano_usd, requests_per_minute,
                    tokens_per_minute, estimated_rows, estimated_tokens, estimated_cost_nano_usd, rows_there, rows_left,
                    created_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'running', 'copying', $9, $10, $11, $12, $13, $14, $15, $16, $17,
                    $14, $18)";
            let now = self.clock.now();
            let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let parameters: [&(dyn ToSql + Sync); 18] = [
                &owner.tenant,
                &owner.shard,
                &id,
                &agent,
                &from.no,
                &to.no,
                &asked.to_model,
                &key.as_str(),
                &asked.on_too_long,
                &asked.min_overlap,
                &asked.budget_nano_usd,
                &i32::try_from(asked.requests_per_minute).unwrap_or(i32::MAX),
                &number(asked.tokens_per_minute),
                &number(asked.estimated_rows),
                &number(asked.estimated_tokens),
                &asked.estimated_cost_nano_usd,
                &number(asked.rows_there),
                &now,
            ];
            transaction.execute(sql, &parameters).await?;
            transaction.commit().await?;
            Ok::<_, DbError>(Ok(()))
        };
        match begin.await.map_err(of_database)? {
            Ok(()) => self.migration(tenant, new.agent.as_ref(), id).await,
            Err(live) => Err(Error::new(
                Code::Conflict,
                "another migration of these rows is not over, finish it or roll it back first",
            )
            .with_detail("migration_id", live.to_string())),
        }
    }

    /// A migration of a tenant; for a key of one agent, only of that agent.
    pub(crate) async fn migration(
        &self,
        tenant: TenantId,
        agent: Option<&AgentId>,
        id: Uuid,
    ) -> Result<v1::Migration, Error> {
        let owner = Owner::of(tenant);
        let sql = format!(
            "SELECT {COLUMNS} WHERE m.tenant_id = $1 AND m.shard_key = $2 AND m.migration_id = $3
                AND ($4 = '' OR m.agent_id = $4)"
        );
        let agent = agent.map_or("", AgentId::as_str);
        let found = self.session(owner).query_opt(&sql, &[&owner.tenant, &owner.shard, &id, &agent]).await;
        let found = found.and_then(|row| row.map(|row| migration(&row)).transpose());
        found.map_err(of_database)?.ok_or_else(unknown)
    }

    /// A page of migrations, newest first, with one more than asked for where there is one.
    pub(crate) async fn migrations(
        &self,
        tenant: TenantId,
        agent: Option<&AgentId>,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<v1::Migration>, Error> {
        let owner = Owner::of(tenant);
        let sql = format!(
            "SELECT {COLUMNS} WHERE m.tenant_id = $1 AND m.shard_key = $2 AND ($3 = '' OR m.agent_id = $3)
                AND ($4::uuid IS NULL OR m.migration_id < $4) ORDER BY m.migration_id DESC LIMIT $5"
        );
        let agent = agent.map_or("", AgentId::as_str);
        let parameters: [&(dyn ToSql + Sync); 5] = [&owner.tenant, &owner.shard, &agent, &before, &limit];
        let rows = self.session(owner).query(&sql, &parameters).await.map_err(of_database)?;
        rows.iter().map(migration).collect::<Result<_, _>>().map_err(of_database)
    }

    /// A page of the rows that a migration could not embed, in the order of their ids.
    pub(crate) async fn migration_failures(
        &self,
        tenant: TenantId,
        id: Uuid,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<v1::MigrationFailure>, Error> {
        let owner = Owner::of(tenant);
        let sql = "SELECT embedding_id, code, message, failed_at FROM migration_failures
            WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3 AND ($4::uuid IS NULL OR embedding_id > $4)
            ORDER BY embedding_id LIMIT $5";
        let parameters: [&(dyn ToSql + Sync); 5] = [&owner.tenant, &owner.shard, &id, &after, &limit];
        let rows = self.session(owner).query(sql, &parameters).await.map_err(of_database)?;
        let failure = |row: &embermesh_postgres::Row| -> Result<v1::MigrationFailure, DbError> {
            let at: std::time::SystemTime = row.try_get(3)?;
            Ok(v1::MigrationFailure {
                embedding_id: row.try_get::<_, Uuid>(0)?.to_string(),
                code: row.try_get(1)?,
                message: row.try_get(2)?,
                failed_at: Some(at.into()),
            })
        };
        rows.iter().map(failure).collect::<Result<_, _>>().map_err(of_database)
    }

    /// Does what an operator asks for.
    ///
    /// # Errors
    /// `conflict` in a state that it does not go with.
    pub(crate) async fn change_migration(
        &self,
        tenant: TenantId,
        agent: Option<&AgentId>,
        id: Uuid,
        asked: &ChangeMigrationRequest,
    ) -> Result<v1::Migration, Error> {
        let action = Action::parse(&asked.action)?;
        rules::check_pace(asked.requests_per_minute, asked.tokens_per_minute, asked.budget_nano_usd)?;
        let owner = Owner::of(tenant);
        let change = async {
            let transaction = self.session(owner).begin().await?;
            let agent = agent.map_or("", AgentId::as_str);
            let Some(stand) = stand(&transaction, owner, id, agent).await? else { return Ok(Err(unknown())) };
            let state = match rules::next(action, &stand, asked.force) {
                Ok(state) => state,
                Err(error) => return Ok(Err(error)),
            };
            // taken up at once, by whoever is first
            let now = self.clock.now();
            let sql = "UPDATE migrations SET state = $4, paused_from = CASE WHEN $4 = 'paused' THEN state END,
                    reason = CASE WHEN $4 = 'paused' THEN 'asked' END, message = NULL, failing_since = NULL,
                    activity = CASE WHEN $4 = 'paused' THEN activity END, rows_per_second = NULL, committed_at = NULL,
                    next_at = now(),
                    cutting_since = CASE WHEN $4 = 'cutting_over' THEN coalesce(cutting_since, $8) ELSE cutting_since END,
                    budget_nano_usd = coalesce($5, budget_nano_usd),
                    requests_per_minute = coalesce($6, requests_per_minute),
                    tokens_per_minute = coalesce($7, tokens_per_minute)
                WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3";
            let requests = asked.requests_per_minute.map(|n| i32::try_from(n).unwrap_or(i32::MAX));
            let tokens = asked.tokens_per_minute.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
            let parameters: [&(dyn ToSql + Sync); 8] =
                [&owner.tenant, &owner.shard, &id, &state, &asked.budget_nano_usd, &requests, &tokens, &now];
            transaction.execute(sql, &parameters).await?;
            transaction.commit().await?;
            tracing::info!(%tenant, migration = %id, from = stand.state, to = state, "a migration was told to change");
            Ok::<_, DbError>(Ok(()))
        };
        change.await.map_err(of_database)??;
        self.migration(tenant, agent, id).await
    }

    /// The spaces and the agent of a migration; `back` reads the new space and writes the old one.
    pub(super) async fn side(&self, work: Work, back: bool) -> Result<Side, DbError> {
        let owner = Owner::of(work.tenant);
        let sql = "SELECT from_space, to_space, agent_id FROM migrations
            WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3";
        let row = self.session(owner).query_one(sql, &[&owner.tenant, &owner.shard, &work.id]).await?;
        let (from, to) = (self.numbered(row.try_get(0)?).await?, self.numbered(row.try_get(1)?).await?);
        let (source, target) = if back { (to, from) } else { (from, to) };
        Ok(Side { source, target, agent: row.try_get(2)? })
    }

    async fn numbered(&self, no: i32) -> Result<Arc<Space>, DbError> {
        self.spaces_numbered(&[no]).await?.pop().ok_or(DbError::RowCount(0))
    }
}

/// Locks a migration and tells where it stands.
async fn stand(
    transaction: &Transaction,
    owner: Owner,
    id: Uuid,
    agent: &str,
) -> Result<Option<Stand>, DbError> {
    let sql = "SELECT state, paused_from, rows_left, rows_failed, min_overlap,
            (parity ->> 'overlap')::double precision FROM migrations
        WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3 AND ($4 = '' OR agent_id = $4) FOR UPDATE";
    let row = transaction.query_opt(sql, &[&owner.tenant, &owner.shard, &id, &agent]).await?;
    let stand = |row: embermesh_postgres::Row| -> Result<Stand, DbError> {
        Ok(Stand {
            state: row.try_get(0)?,
            paused_from: row.try_get(1)?,
            rows_left: row.try_get(2)?,
            rows_failed: row.try_get(3)?,
            min_overlap: row.try_get(4)?,
            overlap: row.try_get(5)?,
        })
    };
    row.map(stand).transpose()
}

fn unknown() -> Error {
    Error::not_found("the tenant has no such migration").with_param("migration_id")
}

/// Why a worker must stop.
pub(super) fn taken() -> Error {
    Error::new(Code::Conflict, "another worker has the migration")
}
