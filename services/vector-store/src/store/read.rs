//! One row by its id.

use std::sync::Arc;

use embermesh_errors::Error;
use embermesh_postgres::DbError;
use embermesh_proto::internal::v1::StoreRow;
use embermesh_types::{AgentId, EmbeddingId, TenantId};

use super::{Owner, Store, conditions::Conditions, row, spaces::Space};
use crate::{domain::filter::Filter, error::of_database};

impl Store {
    /// The row of an id, if it is the tenant's and, where one is given, the agent's.
    pub(crate) async fn get(
        &self,
        tenant: TenantId,
        agent: Option<AgentId>,
        id: EmbeddingId,
        with_vector: bool,
    ) -> Result<StoreRow, Error> {
        let _timer = self.metrics.query("get");
        let owner = Owner::of(tenant);
        let found = async {
            let Some(space) = self.space_of(owner, id).await? else { return Ok(None) };
            self.row(owner, &space, agent, id, with_vector).await
        };
        found
            .await
            .map_err(of_database)?
            .ok_or_else(|| Error::not_found(format!("there is no embedding {id}")))
    }

    async fn space_of(&self, owner: Owner, id: EmbeddingId) -> Result<Option<Arc<Space>>, DbError> {
        // where the row was put, before where a migration has copied it to
        let sql = "SELECT space_no FROM embedding_keys
            WHERE tenant_id = $1 AND shard_key = $2 AND embedding_id = $3
            ORDER BY migration_id IS NOT NULL, space_no LIMIT 1";
        let key = self.session(owner).query_opt(sql, &[&owner.tenant, &owner.shard, &id.uuid()]).await?;
        let Some(key) = key else { return Ok(None) };
        Ok(self.spaces_numbered(&[key.try_get(0)?]).await?.pop())
    }

    async fn row(
        &self,
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
        let found = self.session(owner).query_opt(&sql, &conditions.parameters()).await?;
        found.map(|found| row::read(space, &found, 0)).transpose()
    }
}
