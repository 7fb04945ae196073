//! Pins: the space of an agent's task type, written once.

use std::time::SystemTime;

use embermesh_postgres::{DbError, Row};
use embermesh_proto::internal::v1::{Pin, Section};
use embermesh_types::{AgentId, SpaceId, TenantId};
use serde_json::json;

use super::{
    Store,
    change::{Author, Change, OwnRecord},
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

/// Which pins move, and where to.
#[derive(Debug)]
pub(crate) struct PinMove {
    /// `None`: of every agent.
    pub(crate) agent: Option<AgentId>,
    pub(crate) from: SpaceId,
    pub(crate) to: SpaceId,
    /// What it is that the new pins name.
    pub(crate) model: String,
    /// Only pins that came from `to`, and to the model that they named there.
    pub(crate) back: bool,
}

impl Store {
    /// Moves the pins of a tenant; returns all that this move, now or before, has brought where they are, and whether there were new ones.
    pub(crate) async fn move_pins(
        &self,
        author: Author<'_>,
        wanted: &PinMove,
    ) -> Result<(Vec<Pin>, bool), DbError> {
        let change = Change::begin(self.tenant(author.tenant)).await?;
        let agent = wanted.agent.as_ref().map(AgentId::as_str);
        let (tenant, from, to) = (author.tenant.uuid(), wanted.from.as_str(), wanted.to.as_str());
        let moving = if wanted.back {
            let sql = "SELECT * FROM move_pins_back($1, $2, $3, $4)";
            change.query(sql, &[&agent, &from, &to, &author.at]).await?
        } else {
            let sql = "SELECT * FROM move_pins($1, $2, $3, $4, $5)";
            change.query(sql, &[&agent, &from, &to, &wanted.model, &author.at]).await?
        };
        let moving = moving.iter().map(pin_of).collect::<Result<Vec<_>, _>>()?;
        let sql = "SELECT tenant_id, agent_id, task_type, space_id, model FROM pins
            WHERE tenant_id = $1 AND space_id = $3 AND moved_from_space = $2 AND ($4::text IS NULL OR agent_id = $4)
            ORDER BY agent_id, task_type";
        let moved = change.query(sql, &[&tenant, &from, &to, &agent]).await?;
        let moved = moved.iter().map(pin_of).collect::<Result<Vec<_>, _>>()?;
        if moving.is_empty() {
            return Ok((moved, false));
        }
        let uuid = author.tenant.to_string();
        for pin in &moving {
            let key = [&*uuid, &*pin.agent_id, &*pin.task_type];
            change.touch(Section::Pins, Some(author.tenant), &key).await?;
        }
        let pins: Vec<String> =
            moving.iter().map(|pin| format!("{} {}", pin.agent_id, pin.task_type)).collect();
        let details = json!({"from_space_id": from, "to_space_id": to, "back": wanted.back, "pins": pins});
        change.record(&author.did("pin.move", agent.unwrap_or("every agent"), details)).await?;
        change.commit().await?;
        Ok((moved, true))
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
