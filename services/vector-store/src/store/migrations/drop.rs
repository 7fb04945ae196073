//! What goes at the end of a migration, some rows at a time: each batch leaves rows and keys equal, and a repetition finds the rest.

use embermesh_errors::Error;
use embermesh_postgres::{DbError, types::ToSql};

use super::{Side, Work, taken};
use crate::{
    error::of_database,
    store::{Owner, Store},
};

/// Rows of one transaction.
const BATCH: i64 = 2_000;
const ATTEMPTS: u32 = 4;

impl Store {
    /// Deletes some of what is to go: the old vectors of copied rows when a migration is finishing, its copies when it is rolling back.
    /// How many rows that were; 0 when nothing is left.
    pub(crate) async fn drop_migrated(&self, work: Work) -> Result<u64, Error> {
        let _timer = self.metrics.query("migration_drop");
        let state = self.hold_migration(work).await?.state;
        let mut attempt = 1;
        loop {
            let dropped = match state.as_str() {
                "finishing" => self.drop_sources(work).await,
                "rolling_back" => self.drop_copies(work).await,
                _ => return Err(taken()),
            };
            match dropped {
                Err(DbError::Conflict(_)) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome.map_err(of_database),
            }
        }
    }

    async fn drop_sources(&self, work: Work) -> Result<u64, DbError> {
        let side = self.side(work, false).await?;
        let (owner, Side { source, target, agent }) = (Owner::of(work.tenant), &side);
        let (table, from, to) = (source.table(), source.no, target.no);
        let of_agent = if agent.is_empty() { "$4 = ''" } else { "v.agent_id = $4" };
        let sql = format!(
            "WITH picked AS MATERIALIZED (
                SELECT v.created_at, v.embedding_id FROM {table} v
                    JOIN embedding_keys a ON a.tenant_id = $1 AND a.shard_key = $2 AND a.embedding_id = v.embedding_id
                        AND a.space_no = {from}
                WHERE v.tenant_id = $1 AND v.shard_key = $2 AND {of_agent}
                    AND EXISTS (SELECT FROM embedding_keys b WHERE b.tenant_id = $1 AND b.shard_key = $2
                        AND b.space_no = {to} AND b.embedding_id = a.embedding_id)
                ORDER BY v.created_at, v.embedding_id LIMIT $5
            ), gone AS (
                DELETE FROM {table} v USING picked p
                WHERE v.tenant_id = $1 AND v.shard_key = $2
                    AND v.created_at = p.created_at AND v.embedding_id = p.embedding_id
                RETURNING v.embedding_id
            ), keys AS (
                DELETE FROM embedding_keys k USING gone g
                WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.embedding_id = g.embedding_id AND k.space_no = {from}
            ), home AS (
                UPDATE embedding_keys k SET migration_id = NULL FROM gone g
                WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.embedding_id = g.embedding_id AND k.space_no = {to}
                    AND k.migration_id = $3
            )
            SELECT count(*) FROM gone"
        );
        let parameters: [&(dyn ToSql + Sync); 5] = [&owner.tenant, &owner.shard, &work.id, agent, &BATCH];
        let gone = self.count_of(owner, &sql, &parameters).await?;
        if gone > 0 {
            return Ok(gone);
        }
        // copies whose rows left with their month, or were archived, are at home as well
        let sql = "UPDATE embedding_keys SET migration_id = NULL
            WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3 AND space_no = $4";
        self.session(owner).execute(sql, &[&owner.tenant, &owner.shard, &work.id, &to]).await?;
        Ok(0)
    }

    async fn drop_copies(&self, work: Work) -> Result<u64, DbError> {
        let side = self.side(work, false).await?;
        let (owner, Side { source, target, .. }) = (Owner::of(work.tenant), &side);
        let (table, from, to) = (target.table(), source.no, target.no);
        // what was written in the new space and has been copied back lives in the old one from now on
        let back = format!(
            "WITH picked AS MATERIALIZED (
                SELECT embedding_id, created_at FROM embedding_keys
                WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3 AND space_no = {from} LIMIT $4
            ), home AS (
                UPDATE embedding_keys k SET migration_id = NULL FROM picked p
                WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.embedding_id = p.embedding_id AND k.space_no = {from}
                    AND k.migration_id = $3
                RETURNING k.embedding_id, k.created_at
            ), gone AS (
                DELETE FROM {table} v USING home h
                WHERE v.tenant_id = $1 AND v.shard_key = $2
                    AND v.created_at = h.created_at AND v.embedding_id = h.embedding_id
            ), keys AS (
                DELETE FROM embedding_keys k USING home h
                WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.embedding_id = h.embedding_id AND k.space_no = {to}
            )
            SELECT count(*) FROM home"
        );
        let parameters: [&(dyn ToSql + Sync); 4] = [&owner.tenant, &owner.shard, &work.id, &BATCH];
        let home = self.count_of(owner, &back, &parameters).await?;
        if home > 0 {
            return Ok(home);
        }
        let sql = format!(
            "WITH keys AS (
                DELETE FROM embedding_keys k WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.space_no = {to}
                    AND k.embedding_id IN (SELECT embedding_id FROM embedding_keys
                        WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3 AND space_no = {to} LIMIT $4)
                RETURNING k.embedding_id, k.created_at
            ), gone AS (
                DELETE FROM {table} v USING keys k
                WHERE v.tenant_id = $1 AND v.shard_key = $2
                    AND v.created_at = k.created_at AND v.embedding_id = k.embedding_id
            )
            SELECT count(*) FROM keys"
        );
        self.count_of(owner, &sql, &parameters).await
    }

    async fn count_of(
        &self,
        owner: Owner,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, DbError> {
        let rows = self.session(owner).execute_returning(sql, parameters).await?;
        let row = rows.first().ok_or(DbError::RowCount(0))?;
        Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
    }
}
