//! How often the texts of rows were put again.

use std::time::{Duration, SystemTime};

use embermesh_postgres::DbError;
use embermesh_types::{EmbeddingId, SpaceId, TenantId};

use super::{Owner, Store};

/// Counts that have not moved for so long are forgotten.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// What was counted of a row.
#[derive(Debug, Clone)]
pub(crate) struct RowUses {
    pub(crate) id: EmbeddingId,
    pub(crate) agent: String,
    pub(crate) uses: i64,
}

impl Store {
    /// Adds what was counted of a tenant's rows in one space.
    pub(crate) async fn add_uses(
        &self,
        tenant: TenantId,
        space: &SpaceId,
        mut counted: Vec<RowUses>,
    ) -> Result<(), DbError> {
        let Some(space) = self.space(space).await? else { return Ok(()) };
        let owner = Owner::of(tenant);
        // every replica in the same order, so that none waits for one that waits for it
        counted.sort_by_key(|row| row.id);
        let ids: Vec<_> = counted.iter().map(|row| row.id.uuid()).collect();
        let agents: Vec<&str> = counted.iter().map(|row| row.agent.as_str()).collect();
        let uses: Vec<i64> = counted.iter().map(|row| row.uses).collect();
        let sql =
            "INSERT INTO row_uses (tenant_id, shard_key, embedding_id, space_no, agent_id, uses, last_used)
            SELECT $1::uuid, $2::smallint, u.id, $3::integer, u.agent, u.uses, $4::timestamptz::date
            FROM unnest($5::uuid[], $6::text[], $7::bigint[]) AS u(id, agent, uses)
            ON CONFLICT (tenant_id, shard_key, embedding_id)
                DO UPDATE SET uses = row_uses.uses + excluded.uses, last_used = excluded.last_used";
        let now = self.clock.now();
        let session = self.session(owner);
        session
            .execute(sql, &[&owner.tenant, &owner.shard, &space.no, &now, &ids, &agents, &uses])
            .await
            .map(drop)
    }

    /// Forgets counts of rows that nobody puts any more.
    pub(crate) async fn expire_uses(&self) -> Result<(), DbError> {
        let before = self.clock.now().checked_sub(KEEP).unwrap_or(SystemTime::UNIX_EPOCH);
        let sql = "DELETE FROM row_uses WHERE last_used < $1::timestamptz::date";
        self.pools.owner.system().execute(sql, &[&before]).await.map(drop)
    }
}
