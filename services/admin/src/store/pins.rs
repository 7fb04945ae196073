//! Pins: the space of an agent's task type, written once.

use std::time::SystemTime;

use embermesh_postgres::{DbError, Row};
use embermesh_proto::internal::v1::{Pin, Section};
use embermesh_types::{AgentId, SpaceId, TenantId};
use serde_json::json;

use super::{
    Store,
    change::{Change, OwnRecord},
};

const SELECT: &str =
    "SELECT tenant_id, agent_id, task_type, space_id, model FROM pins WHERE agent_id = $1 AND task_type = $2";

impl Store {
    pub(crate) async fn pin(
        &self,
        tenant: TenantId,
        agent: &AgentId,
        task_type: &str,
    ) -> Result<Option<Pin>, DbError> {
        let row = self.tenant(tenant).query_opt(SELECT, &[&agent.as_str(), &task_type]).await?;
        row.map(|row| pin_of(&row)).transpose()
    }

    /// Pins the space unless there is a pin; returns the one that holds, and whether it is new.
    pub(crate) async fn pin_space(
        &self,
        tenant: TenantId,
        agent: &AgentId,
        task_type: &str,
        space: &SpaceId,
        model: &str,
        now: SystemTime,
    ) -> Result<(Pin, bool), DbError> {
        // nearly always there is one, and reading needs no lock
        if let Some(pin) = self.pin(tenant, agent, task_type).await? {
            return Ok((pin, false));
        }
        let change = Change::begin(self.tenant(tenant)).await?;
        let insert = "INSERT INTO pins (tenant_id, agent_id, task_type, space_id, model, pinned_at)
                      VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        let uuid = tenant.uuid();
        let new = change
            .execute(insert, &[&uuid, &agent.as_str(), &task_type, &space.as_str(), &model, &now])
            .await?
            > 0;
        let pin = pin_of(&change.query_one(SELECT, &[&agent.as_str(), &task_type]).await?)?;
        if new {
            let key = [&*tenant.to_string(), agent.as_str(), task_type];
            change.touch(Section::Pins, Some(tenant), &key).await?;
            let details = json!({"task_type": task_type, "space_id": space.as_str(), "model": model});
            let (action, subject) = ("pin.create", agent.as_str());
            change.record_own(&OwnRecord { tenant, at: now, action, subject, details }).await?;
            change.commit().await?;
        }
        Ok((pin, new))
    }
}

/// Reads a row of `tenant_id, agent_id, task_type, space_id, model`.
pub(crate) fn pin_of(row: &Row) -> Result<Pin, DbError> {
    Ok(Pin {
        tenant_id: row.try_get::<_, uuid::Uuid>("tenant_id")?.to_string(),
        agent_id: row.try_get("agent_id")?,
        task_type: row.try_get("task_type")?,
        space_id: row.try_get("space_id")?,
        model: row.try_get("model")?,
    })
}
