//! One row by its id.

use std::sync::Arc;

use embermesh_errors::Error;
use embermesh_postgres::{DbError, Reader};
use embermesh_proto::internal::v1::StoreRow;
use embermesh_types::{AgentId, Consistency, EmbeddingId, TenantId};

use super::{Owner, Store, conditions::Conditions, row, spaces::Space};
use crate::{domain::filter::Filter, error::of_database};

impl Store {
    /// The row of an id, if it is the tenant's and, where one is given, the agent's.
    pub(crate) async fn get(
        &self,
        tenant: TenantId,
        consistency: Consistency,
        agent: Option<AgentId>,
        id: EmbeddingId,
        with_vector: bool,
    ) -> Result<StoreRow, Error> {
        let _timer = self.metrics.query("get");
        let owner = Owner::of(tenant);
        let reads = &self.pools.reads.reader(consistency).await;
        let found = async {
            let Some(space) = self.space_of(reads, owner, id).await? else { return Ok(None) };
            self.row(reads, owner, &space, agent, id, with_vector).await
        };
        found
            .await
            .map_err(of_database)?
            .ok_or_else(|| Error::not_found(format!("there is no embedding {id}")))
    }

    async fn space_of(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        id: EmbeddingId,
    ) -> Result<Option<Arc<Space>>, DbError> {
        // where the row was put, before where a migration has copied it to
        let sql = "SELECT space_no FROM embedding_keys
            WHERE tenant_id = $1 AND shard_key = $2 AND embedding_id = $3
            ORDER BY migration_id IS NOT NULL, space_no LIMIT 1";
        let key =
            reads.tenant(owner.tenant).query_opt(sql, &[&owner.tenant, &owner.shard, &id.uuid()]).await?;
        let Some(key) = key else { return Ok(None) };
        Ok(self.spaces_numbered(&[key.try_get(0)?]).await?.pop())
    }

    async fn row(
        &self,
        reads: &Reader<'_>,
        owner: Owner,
        space: &Space,
        agent: Option<AgentId>,
        id: EmbeddingId,
        with_vector: bool,
    ) -> Result<Option<StoreRow>, DbError> {
        let filter = Filter { agent, ids: vec![id], ..Filter::default() };
        let conditions = Conditions::of(owner, &filter);
        let (columns, table) = (row::columns(with_vector), space.table());
        let sql = format!("SELECT {columns} FROM {table} WHERE {}", conditions.sql());
        let found = reads.tenant(owner.tenant).query_opt(&sql, &conditions.parameters()).await?;
        found.map(|found| row::read(space, &found, 0)).transpose()
    }
}
