//! Rows by the idempotency key that made them.

use std::time::SystemTime;

use embermesh_errors::Error;
use embermesh_postgres::DbError;
use embermesh_proto::internal::v1::{FindRequestReply, StoreRow};
use embermesh_types::{AgentId, EmbeddingId, RequestId, TenantId};

use super::{Owner, Store};
use crate::error::of_database;

/// Entries that one expiry statement removes.
const EXPIRY_BATCH: i64 = 10_000;

impl Store {
    /// What a request made. A request of another agent than the caller's is not known to it; putting under the same id is a
    /// conflict all the same.
    pub(crate) async fn find_request(
        &self,
        tenant: TenantId,
        agent: Option<AgentId>,
        request: &RequestId,
    ) -> Result<FindRequestReply, Error> {
        let _timer = self.metrics.query("find_request");
        let found = self.request(Owner::of(tenant), agent, request).await.map_err(of_database)?;
        Ok(found.map_or_else(FindRequestReply::default, |(hash, row)| FindRequestReply {
            request_hash: hash.into(),
            row: Some(row),
        }))
    }

    async fn request(
        &self,
        owner: Owner,
        agent: Option<AgentId>,
        request: &RequestId,
    ) -> Result<Option<(Vec<u8>, StoreRow)>, DbError> {
        let sql = "SELECT r.request_hash, r.embedding_id, k.space_no
            FROM requests r JOIN embedding_keys k USING (tenant_id, shard_key, embedding_id)
            WHERE r.tenant_id = $1 AND r.shard_key = $2 AND r.request_id = $3 AND r.created_at > $4";
        let parameters: [&(dyn embermesh_postgres::types::ToSql + Sync); 4] =
            [&owner.tenant, &owner.shard, &request.as_str(), &self.request_expiry()];
        let Some(found) = self.session(owner).query_opt(sql, &parameters).await? else { return Ok(None) };
        let (hash, id) = (found.try_get(0)?, EmbeddingId::new(found.try_get(1)?));
        let Some(space) = self.spaces_numbered(&[found.try_get(2)?]).await?.pop() else { return Ok(None) };
        Ok(self.row(owner, &space, agent, id, true).await?.map(|row| (hash, row)))
    }

    /// Removes the entries of all tenants that are too old; returns how many.
    pub(crate) async fn expire_requests(&self) -> Result<u64, DbError> {
        let before: SystemTime = self.request_expiry();
        let sql = "DELETE FROM requests WHERE (tenant_id, shard_key, request_id) IN (
            SELECT tenant_id, shard_key, request_id FROM requests WHERE created_at <= $1 LIMIT $2)";
        let mut total = 0;
        loop {
            let expired = self.pools.owner.system().execute(sql, &[&before, &EXPIRY_BATCH]).await?;
            total += expired;
            if expired < EXPIRY_BATCH.unsigned_abs() {
                return Ok(total);
            }
        }
    }
}
