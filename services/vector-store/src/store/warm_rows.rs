//! Which rows a cache is warmed with. The rows themselves are read as any list is.

use std::collections::HashSet;

use embermesh_errors::Error;
use embermesh_postgres::DbError;
use embermesh_types::{EmbeddingId, SpaceId, TenantId};
use uuid::Uuid;

use super::{Owner, Store};
use crate::{domain::filter::Filter, error::of_database};

/// The agents of a space by skipping from one to the next in the index, however many rows each has.
const AGENTS: &str = "WITH RECURSIVE found AS (
        (SELECT agent_id FROM {table} WHERE tenant_id = $1 AND shard_key = $2 ORDER BY agent_id LIMIT 1)
        UNION ALL
        SELECT (SELECT v.agent_id FROM {table} v WHERE v.tenant_id = $1 AND v.shard_key = $2
                    AND v.agent_id > found.agent_id ORDER BY v.agent_id LIMIT 1)
        FROM found WHERE found.agent_id IS NOT NULL)
    SELECT agent_id FROM found WHERE agent_id IS NOT NULL";

/// An agent's rows in a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shelf {
    pub(crate) space: SpaceId,
    pub(crate) agent: String,
    /// Rows, up to the limit that was asked about.
    pub(crate) rows: u64,
}

impl Store {
    /// Where a tenant has rows, of one agent and space or of all; each with up to `limit` rows counted.
    pub(crate) async fn shelves(
        &self,
        tenant: TenantId,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Shelf>, DbError> {
        let owner = Owner::of(tenant);
        let mut shelves = Vec::new();
        let reads = self.pools.reads.on_primary();
        for space in self.spaces_to_visit(&reads, owner, filter).await? {
            let table = space.table().to_string();
            let agents = match &filter.agent {
                Some(agent) => vec![agent.as_str().to_owned()],
                None => {
                    let sql = AGENTS.replace("{table}", &table);
                    let rows = self.session(owner).query(&sql, &[&owner.tenant, &owner.shard]).await?;
                    rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?
                }
            };
            let sql = format!(
                "SELECT count(*) FROM (SELECT FROM {table} WHERE tenant_id = $1 AND shard_key = $2 AND agent_id = $3
                    LIMIT $4) AS counted"
            );
            for agent in agents {
                let parameters: [&(dyn embermesh_postgres::types::ToSql + Sync); 4] =
                    [&owner.tenant, &owner.shard, &agent, &i64::from(limit)];
                let rows: i64 = self.session(owner).query_one(&sql, &parameters).await?.try_get(0)?;
                if rows > 0 {
                    shelves.push(Shelf { space: space.id.clone(), agent, rows: rows.unsigned_abs() });
                }
            }
        }
        Ok(shelves)
    }

    /// Those of some rows of a space whose vectors stand for the beginnings of their texts alone.
    pub(crate) async fn truncated(
        &self,
        tenant: TenantId,
        space: &SpaceId,
        ids: &[&str],
    ) -> Result<HashSet<String>, Error> {
        let owner = Owner::of(tenant);
        let read = async {
            let Some(space) = self.space(space).await? else { return Ok(HashSet::new()) };
            let sql = "SELECT embedding_id::text FROM embedding_keys
                WHERE tenant_id = $1 AND shard_key = $2 AND embedding_id = ANY($3::text[]::uuid[]) AND space_no = $4 AND truncated";
            let rows =
                self.session(owner).query(sql, &[&owner.tenant, &owner.shard, &ids, &space.no]).await?;
            rows.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<_, DbError>>()
        };
        read.await.map_err(of_database)
    }

    /// The rows of a shelf whose texts were put again, most often first.
    pub(crate) async fn most_used(
        &self,
        tenant: TenantId,
        shelf: &Shelf,
        limit: u32,
    ) -> Result<Vec<EmbeddingId>, DbError> {
        let owner = Owner::of(tenant);
        let Some(space) = self.space(&shelf.space).await? else { return Ok(Vec::new()) };
        let sql = "SELECT embedding_id FROM row_uses
            WHERE tenant_id = $1 AND shard_key = $2 AND space_no = $3 AND agent_id = $4
            ORDER BY uses DESC, embedding_id DESC LIMIT $5";
        let parameters: [&(dyn embermesh_postgres::types::ToSql + Sync); 5] =
            [&owner.tenant, &owner.shard, &space.no, &shelf.agent, &i64::from(limit)];
        let rows = self.session(owner).query(sql, &parameters).await?;
        rows.iter().map(|row| Ok(EmbeddingId::new(row.try_get::<_, Uuid>(0)?))).collect()
    }
}
