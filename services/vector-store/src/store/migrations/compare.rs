//! Whether both spaces agree on who is near to whom.
//!
//! A stored row is the question, with its own vector in each space; neighbours are read exactly and named by their hashes, so that a row
//! that the new space held before under another id counts as the same one.

use std::collections::HashSet;

use embermesh_errors::Error;
use embermesh_postgres::{DbError, types::ToSql};
use embermesh_proto::internal::v1::CompareReply;
use embermesh_types::EmbeddingId;

use super::{Side, Work};
use crate::{
    domain::id,
    error::of_database,
    store::{
        Owner, Store,
        spaces::Space,
        vector_column::{Incoming, Outgoing},
    },
};

/// Of rows that lie in one space alone, so many may be nearer than the neighbours that are compared.
const SPARE: i64 = 50;

impl Store {
    /// Compares the `k` nearest neighbours of one of a migration's copies: the one at place `at` in the order of their hashes.
    pub(crate) async fn compare_neighbours(
        &self,
        work: Work,
        at: u32,
        k: u32,
    ) -> Result<CompareReply, Error> {
        let _timer = self.metrics.query("migration_compare");
        self.compare(work, at, k).await.map_err(of_database)
    }

    async fn compare(&self, work: Work, at: u32, k: u32) -> Result<CompareReply, DbError> {
        let side = self.side(work, false).await?;
        let owner = Owner::of(work.tenant);
        let sql = "SELECT embedding_id, dedup_hash FROM embedding_keys
            WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3 AND space_no = $4
            ORDER BY dedup_hash LIMIT 1 OFFSET $5";
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&owner.tenant, &owner.shard, &work.id, &side.target.no, &i64::from(at)];
        let Some(row) = self.session(owner).query_opt(sql, &parameters).await? else {
            return Ok(CompareReply { none: true, ..CompareReply::default() });
        };
        let (id, hash): (uuid::Uuid, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        let id = EmbeddingId::new(id);
        let (Some(old), Some(new)) = (
            self.neighbours(owner, &side, &side.source, (id, &hash), k).await?,
            self.neighbours(owner, &side, &side.target, (id, &hash), k).await?,
        ) else {
            // deleted meanwhile
            return Ok(CompareReply { none: true, ..CompareReply::default() });
        };
        let of = old.len().min(new.len());
        let agreed = old.intersection(&new).count();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(CompareReply { none: false, agreed: number(agreed), of: number(of) })
    }

    /// The hashes of the `k` nearest rows that both spaces hold, the row itself left out.
    async fn neighbours(
        &self,
        owner: Owner,
        side: &Side,
        space: &Space,
        (id, hash): (EmbeddingId, &[u8]),
        k: u32,
    ) -> Result<Option<HashSet<Vec<u8>>>, DbError> {
        let other = if space.no == side.source.no { side.target.no } else { side.source.no };
        let (table, no, kind) = (space.table(), space.no, space.element.sql_type());
        let sql = format!(
            "SELECT embedding::{kind} FROM {table}
            WHERE tenant_id = $1 AND shard_key = $2 AND created_at = $3 AND embedding_id = $4"
        );
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&owner.tenant, &owner.shard, &id::created_at(id), &id.uuid()];
        let Some(row) = self.session(owner).query_opt(&sql, &parameters).await? else { return Ok(None) };
        let Incoming(vector) = row.try_get(0)?;
        // no index orders by a sum, so every row is read
        let sql = format!(
            "SELECT k.dedup_hash FROM (
                SELECT embedding_id, (embedding <=> $4::{kind}) + 0 AS distance FROM {table}
                WHERE tenant_id = $1 AND shard_key = $2 AND ($3 = '' OR agent_id = $3)
                ORDER BY distance, embedding_id LIMIT $5
            ) n JOIN embedding_keys k ON k.tenant_id = $1 AND k.shard_key = $2 AND k.embedding_id = n.embedding_id
                AND k.space_no = {no}
            WHERE k.dedup_hash <> $6 AND EXISTS (SELECT FROM embedding_keys o WHERE o.tenant_id = $1 AND o.shard_key = $2
                AND o.space_no = {other} AND o.dedup_hash = k.dedup_hash)
            ORDER BY n.distance, k.embedding_id LIMIT $7"
        );
        let (limit, most) = (i64::from(k) + 1 + SPARE, i64::from(k));
        let outgoing = Outgoing(&vector);
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&owner.tenant, &owner.shard, &side.agent, &outgoing, &limit, &hash, &most];
        let rows = self.session(owner).query(&sql, &parameters).await?;
        Ok(Some(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?))
    }
}
