//! Removing rows, together with what points to them.

use std::{sync::Arc, time::SystemTime};

use embermesh_errors::Error;
use embermesh_postgres::{DbError, Transaction, WriteMark};
use embermesh_types::{EmbeddingId, TenantId, WriteToken};
use uuid::Uuid;

use super::{Owner, Store, conditions::Conditions, spaces::Space};
use crate::{domain::filter::Filter, error::of_database};

/// Rows of one transaction, their copies not counted. A larger deletion is several: each leaves rows and keys equal, and a failure in
/// the middle leaves the rest for a repetition.
const BATCH: i64 = 5_000;
/// A deletion may meet an insertion of the same rows in the opposite order; PostgreSQL then undoes one of them.
const ATTEMPTS: u32 = 4;

impl Store {
    /// Removes what a filter matches; returns how many rows that were, and what stands for their removal.
    pub(crate) async fn delete(&self, tenant: TenantId, filter: &Filter) -> Result<(u64, WriteToken), Error> {
        self.delete_all(Owner::of(tenant), filter).await.map_err(of_database)
    }

    async fn delete_all(&self, owner: Owner, filter: &Filter) -> Result<(u64, WriteToken), DbError> {
        let _timer = self.metrics.query("delete");
        let mark = WriteMark::default();
        let mut total = 0;
        for space in self.spaces_to_clear(owner, filter).await? {
            loop {
                let (picked, gone) = self.delete_batch(owner, &space, filter, &mark).await?;
                total += gone;
                if picked < BATCH {
                    break;
                }
            }
        }
        Ok((total, mark.token()))
    }

    /// The right to delete rows that are past their retention, unless another process does.
    pub(crate) async fn may_delete_expired(&self) -> Result<Option<Transaction>, DbError> {
        self.only_one("retention").await
    }

    /// Removes the rows of a tenant from before a time, with their keys; returns how many they were.
    pub(crate) async fn delete_older(&self, tenant: TenantId, before: SystemTime) -> Result<u64, DbError> {
        let filter = Filter { before: Some(before), ..Filter::default() };
        Ok(self.delete_all(Owner::of(tenant), &filter).await?.0)
    }

    /// How many rows a filter matches.
    pub(crate) async fn count(&self, tenant: TenantId, filter: &Filter) -> Result<u64, Error> {
        let _timer = self.metrics.query("count");
        let owner = Owner::of(tenant);
        let conditions = Conditions::of(owner, filter);
        let spaces = self.spaces_to_clear(owner, filter).await.map_err(of_database)?;
        // UNION: a row with a vector in two spaces is one row
        let arm = |space: &Arc<Space>| {
            format!("SELECT embedding_id FROM {} WHERE {}", space.table(), conditions.sql())
        };
        let arms: Vec<String> = spaces.iter().map(arm).collect();
        if arms.is_empty() {
            return Ok(0);
        }
        let sql = format!("SELECT count(*) FROM ({}) AS matching", arms.join(" UNION "));
        let row = self.session(owner).query_one(&sql, &conditions.parameters()).await.map_err(of_database)?;
        Ok(row.try_get::<_, i64>(0).map_err(DbError::from).map_err(of_database)?.unsigned_abs())
    }

    /// The space that a filter names, or all with a key of the tenant: a row may move while its deletion goes on, into a space that
    /// held nothing but copies when that began.
    async fn spaces_to_clear(&self, owner: Owner, filter: &Filter) -> Result<Vec<Arc<Space>>, DbError> {
        let reads = self.pools.reads.on_primary();
        match &filter.space {
            Some(space) => Ok(self.space(space).await?.into_iter().collect()),
            None => self.spaces_with_keys_of(&reads, owner).await,
        }
    }

    /// Removes some rows of a space, and their copies in others; how many were picked, and how many of them are gone.
    async fn delete_batch(
        &self,
        owner: Owner,
        space: &Space,
        filter: &Filter,
        mark: &WriteMark,
    ) -> Result<(i64, u64), DbError> {
        let mut attempt = 1;
        loop {
            match self.delete_batch_once(owner, space, filter, mark).await {
                Err(DbError::Conflict(_) | DbError::StalePlan) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    /// Rows and copies go in one transaction, so that none outlives the other. Whoever makes a copy holds its row's key until the copy
    /// is committed: behind the deletion of the row there is every copy that will ever be.
    async fn delete_batch_once(
        &self,
        owner: Owner,
        space: &Space,
        filter: &Filter,
        mark: &WriteMark,
    ) -> Result<(i64, u64), DbError> {
        let transaction = self.session(owner).begin().await?;
        let (picked, gone) = delete_in(&transaction, owner, space, filter).await?;
        if !gone.is_empty() {
            let sql = "SELECT space_no, array_agg(embedding_id) FROM embedding_keys
                WHERE tenant_id = $1 AND shard_key = $2 AND embedding_id = ANY($3) GROUP BY space_no";
            for row in transaction.query(sql, &[&owner.tenant, &owner.shard, &gone]).await? {
                let (no, ids): (i32, Vec<Uuid>) = (row.try_get(0)?, row.try_get(1)?);
                let ids = ids.into_iter().map(EmbeddingId::new).collect();
                let copies = Filter { ids, ..Filter::default() };
                for space in self.spaces_numbered(&[no]).await? {
                    delete_in(&transaction, owner, &space, &copies).await?;
                }
            }
        }
        transaction.commit_marked(mark).await?;
        Ok((picked, gone.len() as u64))
    }
}

/// Removes up to a batch of what matches in one space, with its keys; how many were picked, and which are gone.
async fn delete_in(
    transaction: &Transaction,
    owner: Owner,
    space: &Space,
    filter: &Filter,
) -> Result<(i64, Vec<Uuid>), DbError> {
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
            WHERE k.tenant_id = $1 AND k.shard_key = $2 AND k.embedding_id = g.embedding_id AND k.space_no = {no}
        )
        SELECT (SELECT count(*) FROM picked), (SELECT coalesce(array_agg(embedding_id), '{{}}') FROM gone)",
        no = space.no,
    );
    let row = transaction.query_one(&sql, &conditions.parameters()).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
