//! The last order of each kind to serve nothing that was kept before.

use std::time::{Duration, SystemTime};

use embermesh_postgres::{DbError, Row};
use embermesh_proto::internal::v1::{CacheClear, Section};
use embermesh_types::{AgentId, SpaceId, TenantId};
use serde_json::json;
use uuid::Uuid;

use super::{
    Store,
    change::{Author, Change},
};
use crate::domain::cache_order::{CacheAction, CacheOrder};

/// Reads every order.
pub(crate) const SELECT: &str = "SELECT tenant_id, agent_id, space_id, number FROM cache_clears";

/// The last clear of any part of a tenant's cache, or of everybody's.
const CLEARED: &str = "SELECT coalesce(max(number), 0) FROM cache_clears
    WHERE tenant_id IN ($1, '00000000-0000-0000-0000-000000000000')";

/// Nothing is served that was kept for longer than seven days, so an order that is older has nothing left to say.
const KEEP: Duration = Duration::from_secs(8 * 24 * 3600);

impl Store {
    /// Writes an order down; returns the version that it is, and the number of the last clear of anything that it is about. For a clear
    /// the stream holds it from then on; a warm is only recorded.
    pub(crate) async fn order_cache(
        &self,
        order: &CacheOrder,
        author: Author<'_>,
    ) -> Result<(i64, i64), DbError> {
        // sees the clears of all tenants, and the audit chain of another one that it adds to
        let session = self.tenant(author.tenant).with("app.all_tenants", "on");
        let change = Change::begin(session).await?;
        let of = order.tenant.map_or(Uuid::nil(), TenantId::uuid);
        if order.action == CacheAction::Clear {
            change.turn_to(TenantId::new(of)).await?;
            clear(&change, of, order, author).await?;
            change.turn_to(author.tenant).await?;
        }
        let action = match order.action {
            CacheAction::Clear => "cache.clear",
            CacheAction::Warm => "cache.warm",
        };
        let subject = order.tenant.map_or_else(|| "every tenant".to_owned(), |tenant| tenant.to_string());
        let details = json!({
            "agent_id": order.agent.as_ref().map(AgentId::as_str),
            "space_id": order.space.as_ref().map(SpaceId::as_str),
        });
        change.record(&author.did(action, &subject, details.clone())).await?;
        if let Some(tenant) = order.tenant.filter(|tenant| *tenant != author.tenant) {
            // its people see what was done to it
            change.record(&Author { tenant, ..author }.did(action, &subject, details)).await?;
        }
        let cleared: i64 = change.query_one(CLEARED, &[&of]).await?.try_get(0)?;
        Ok((change.commit().await?, cleared))
    }
}

async fn clear(change: &Change, of: Uuid, order: &CacheOrder, author: Author<'_>) -> Result<(), DbError> {
    let (agent, space) =
        (order.agent.as_ref().map_or("", AgentId::as_str), order.space.as_ref().map_or("", SpaceId::as_str));
    let old = author.at.checked_sub(KEEP).unwrap_or(SystemTime::UNIX_EPOCH);
    let sql = "DELETE FROM cache_clears WHERE tenant_id = $1 AND ordered_at < $2 RETURNING tenant_id, agent_id, space_id, number";
    for row in change.query(sql, &[&of, &old]).await? {
        let gone = clear_of(&row)?;
        touch(change, of, &gone.agent_id, &gone.space_id).await?;
    }
    let sql = "INSERT INTO cache_clears (tenant_id, agent_id, space_id, number, ordered_by, ordered_at)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (tenant_id, agent_id, space_id) DO UPDATE SET number = excluded.number,
                   ordered_by = excluded.ordered_by, ordered_at = excluded.ordered_at";
    let number = change.version();
    change.execute(sql, &[&of, &agent, &space, &number, &author.by.as_str(), &author.at]).await?;
    touch(change, of, agent, space).await
}

async fn touch(change: &Change, of: Uuid, agent: &str, space: &str) -> Result<(), DbError> {
    change.touch(Section::CacheClears, None, &[&of.to_string(), agent, space]).await
}

/// Reads a row of [`SELECT`].
pub(crate) fn clear_of(row: &Row) -> Result<CacheClear, DbError> {
    let tenant: Uuid = row.try_get("tenant_id")?;
    Ok(CacheClear {
        tenant_id: if tenant.is_nil() { String::new() } else { tenant.to_string() },
        agent_id: row.try_get("agent_id")?,
        space_id: row.try_get("space_id")?,
        number: row.try_get("number")?,
    })
}
