//! Removing rows, together with what points to them.

use embermesh_errors::Error;
use embermesh_postgres::{DbError, WriteMark};
use embermesh_types::{TenantId, WriteToken};

use super::{Owner, Store, conditions::Conditions, spaces::Space};
use crate::{domain::filter::Filter, error::of_database};

/// Rows of one transaction. A larger deletion is several: each leaves rows and keys equal, and a failure in the middle leaves the
/// rest for a repetition.
const BATCH: i64 = 5_000;
/// A deletion may meet an insertion of the same rows in the opposite order; PostgreSQL then undoes one of them.
const ATTEMPTS: u32 = 4;

impl Store {
    /// Removes what a filter matches; returns how many rows that were, and what stands for their removal.
    pub(crate) async fn delete(&self, tenant: TenantId, filter: &Filter) -> Result<(u64, WriteToken), Error> {
        let _timer = self.metrics.query("delete");
        let owner = Owner::of(tenant);
        let mark = WriteMark::default();
        let mut total = 0;
        let reads = self.pools.reads.on_primary();
        for space in self.spaces_to_visit(&reads, owner, filter).await.map_err(of_database)? {
            loop {
                let (picked, deleted) =
                    self.delete_batch(owner, &space, filter, &mark).await.map_err(of_database)?;
                total += deleted;
                if picked < BATCH {
                    break;
                }
            }
        }
        Ok((total, mark.token()))
    }

    /// How many rows a filter matches.
    pub(crate) async fn count(&self, tenant: TenantId, filter: &Filter) -> Result<u64, Error> {
        let _timer = self.metrics.query("count");
        let owner = Owner::of(tenant);
        let conditions = Conditions::of(owner, filter);
        let mut total = 0;
        let reads = self.pools.reads.on_primary();
        for space in self.spaces_to_visit(&reads, owner, filter).await.map_err(of_database)? {
            let sql = format!("SELECT count(*) FROM {} WHERE {}", space.table(), conditions.sql());
            let row =
                self.session(owner).query_one(&sql, &conditions.parameters()).await.map_err(of_database)?;
            total += row.try_get::<_, i64>(0).map_err(DbError::from).map_err(of_database)?.unsigned_abs();
        }
        Ok(total)
    }

    async fn delete_batch(
        &self,
        owner: Owner,
        space: &Space,
        filter: &Filter,
        mark: &WriteMark,
    ) -> Result<(i64, u64), DbError> {
        let mut conditions = Conditions::of(owner, filter);
        let limit = conditions.parameter(BATCH);
        let (table, matching) = (space.table(), conditions.sql());
        let sql = format!(
            "WITH picked AS MATERIALIZED (
                SELECT created_at, embedding_id FROM {table} WHERE {matching}
                ORDER BY created_at, embedding_id LIMIT {limit}
            ), gone AS (
                DELETE FROM {table} v USING picked p
                WHERE v.tenant_id = $1 AND v.shard_key = $2
                    AND v.created_at = p.created_at AND v.embedding_id = p.embedding_id
                RETURNING v.embedding_id
            ), keys AS (
                DELETE FROM embedding_keys k USING gone g
                WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.embedding_id = g.embedding_id
            )
            SELECT (SELECT count(*) FROM picked), (SELECT count(*) FROM gone)"
        );
        let mut attempt = 1;
        let rows = loop {
            let session = self.session(owner).marked(mark);
            match session.execute_returning(&sql, &conditions.parameters()).await {
                Err(DbError::Conflict(_)) if attempt < ATTEMPTS => attempt += 1,
                outcome => break outcome?,
            }
        };
        let row = rows.first().ok_or(DbError::RowCount(0))?;
        Ok((row.try_get(0)?, row.try_get::<_, i64>(1)?.unsigned_abs()))
    }
}
