//! Removing rows, together with what points to them.

use std::time::SystemTime;

use embermesh_errors::Error;
use embermesh_postgres::{DbError, Transaction};
use embermesh_types::TenantId;

use super::{Owner, Store, conditions::Conditions, spaces::Space};
use crate::{domain::filter::Filter, error::of_database};

/// Rows of one transaction. A larger deletion is several: each leaves rows and keys equal, and a failure in the middle leaves the
/// rest for a repetition.
const BATCH: i64 = 5_000;
/// A deletion may meet an insertion of the same rows in the opposite order; PostgreSQL then undoes one of them.
const ATTEMPTS: u32 = 4;

impl Store {
    /// Removes what a filter matches; returns how many rows that were.
    pub(crate) async fn delete(&self, tenant: TenantId, filter: &Filter) -> Result<u64, Error> {
        self.delete_all(Owner::of(tenant), filter).await.map_err(of_database)
    }

    async fn delete_all(&self, owner: Owner, filter: &Filter) -> Result<u64, DbError> {
        let _timer = self.metrics.query("delete");
        let mut total = 0;
        for space in self.spaces_to_visit(owner, filter).await? {
            loop {
                let (picked, deleted) = self.delete_batch(owner, &space, filter).await?;
                total += deleted;
                if picked < BATCH {
                    break;
                }
            }
        }
        Ok(total)
    }

    /// The right to delete rows that are past their retention, unless another process does.
    pub(crate) async fn may_delete_expired(&self) -> Result<Option<Transaction>, DbError> {
        self.only_one("retention").await
    }

    /// Removes the rows of a tenant from before a time, with their keys; returns how many they were.
    pub(crate) async fn delete_older(&self, tenant: TenantId, before: SystemTime) -> Result<u64, DbError> {
        let filter = Filter { before: Some(before), ..Filter::default() };
        self.delete_all(Owner::of(tenant), &filter).await
    }

    /// How many rows a filter matches.
    pub(crate) async fn count(&self, tenant: TenantId, filter: &Filter) -> Result<u64, Error> {
        let _timer = self.metrics.query("count");
        let owner = Owner::of(tenant);
        let conditions = Conditions::of(owner, filter);
        let mut total = 0;
        for space in self.spaces_to_visit(owner, filter).await.map_err(of_database)? {
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
            match self.session(owner).execute_returning(&sql, &conditions.parameters()).await {
                Err(DbError::Conflict(_)) if attempt < ATTEMPTS => attempt += 1,
                outcome => break outcome?,
            }
        };
        let row = rows.first().ok_or(DbError::RowCount(0))?;
        Ok((row.try_get(0)?, row.try_get::<_, i64>(1)?.unsigned_abs()))
    }
}
