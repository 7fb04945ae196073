//! Agents: the configuration in force, and every one that ever was.

use std::{collections::HashSet, time::SystemTime};

use embermesh_postgres::{DbError, Row};
use embermesh_proto::{internal::v1::Section, v1::Agent};
use embermesh_types::{AgentId, KeyId, TenantId};

use super::{
    Store,
    change::{Change, Changed},
    timestamp,
};
use crate::domain::page::Page;

/// Names the list in page tokens.
pub(crate) const LIST: &str = "agents";

const COLUMNS: &str = "agent_id, version, config::text, created_at, updated_at";

/// A change of one agent, with what is there now.
pub(crate) struct AgentChange {
    change: Change,
    tenant: TenantId,
    id: AgentId,
    pub(crate) current: Option<Agent>,
}

impl Store {
    pub(crate) async fn agent(&self, tenant: TenantId, id: &AgentId) -> Result<Option<Agent>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM agents WHERE agent_id = $1");
        self.tenant(tenant).query_opt(&sql, &[&id.as_str()]).await?.map(|row| agent(&row)).transpose()
    }

    /// A page in the order of the ids, and the token of the next one.
    pub(crate) async fn agents(
        &self,
        tenant: TenantId,
        page: &Page<1>,
    ) -> Result<(Vec<Agent>, Option<String>), DbError> {
        let after = page.after.as_ref().map(|[id]| id);
        let sql = format!(
            "SELECT {COLUMNS} FROM agents WHERE agent_id > coalesce($1, '') ORDER BY agent_id LIMIT $2"
        );
        let rows = self.tenant(tenant).query(&sql, &[&after, &page.limit()]).await?;
        let mut agents = rows.iter().map(agent).collect::<Result<Vec<_>, _>>()?;
        let next = page.cut(LIST, &mut agents, |agent| [agent.agent_id.clone()]);
        Ok((agents, next))
    }

    pub(crate) async fn change_agent(&self, tenant: TenantId, id: AgentId) -> Result<AgentChange, DbError> {
        let change = Change::begin(self.tenant(tenant)).await?;
        let sql = format!("SELECT {COLUMNS} FROM agents WHERE agent_id = $1");
        let row = change.query_opt(&sql, &[&id.as_str()]).await?;
        let current = row.map(|row| agent(&row)).transpose()?;
        Ok(AgentChange { change, tenant, id, current })
    }
}

impl AgentChange {
    /// Those of `ids` that the catalog holds.
    pub(crate) async fn known_models(&self, ids: &[&str]) -> Result<HashSet<String>, DbError> {
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let rows = self.change.query("SELECT id FROM models WHERE id = ANY ($1)", &[&ids]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Puts `agent` in force and returns it with its version.
    pub(crate) async fn put(
        self,
        mut agent: Agent,
        by: &KeyId,
        now: SystemTime,
    ) -> Result<Changed<Agent>, DbError> {
        agent.version = self.next_version().await?;
        let created = self.current.as_ref().and_then(|current| current.created_at);
        agent.created_at = created.or_else(|| timestamp(now));
        agent.updated_at = timestamp(now);
        let config = to_json(&agent)?;
        let tenant = self.tenant.uuid();
        let row = self
            .change
            .query_one(
                &format!(
                    "INSERT INTO agents (tenant_id, agent_id, version, config, created_at, updated_at)
                     VALUES ($1, $2, $3, $4::text::json, $5, $5)
                     ON CONFLICT (tenant_id, agent_id) DO UPDATE
                     SET version = excluded.version, config = excluded.config, updated_at = excluded.updated_at
                     RETURNING {COLUMNS}"
                ),
                &[&tenant, &self.id.as_str(), &agent.version, &config, &now],
            )
            .await?;
        let agent = self::agent(&row)?;
        self.record(agent.version, Some(&config), by, now).await?;
        Ok(Changed { made: agent, version: self.change.commit().await? })
    }

    /// Takes the configuration out of force. Pins stay: the vectors do too.
    pub(crate) async fn delete(self, by: &KeyId, now: SystemTime) -> Result<Changed<()>, DbError> {
        let version = self.next_version().await?;
        self.change.execute("DELETE FROM agents WHERE agent_id = $1", &[&self.id.as_str()]).await?;
        self.record(version, None, by, now).await?;
        Ok(Changed { made: (), version: self.change.commit().await? })
    }

    /// Goes on counting through deletions, so that a version never means two things.
    async fn next_version(&self) -> Result<i64, DbError> {
        let sql = "SELECT coalesce(max(version), 0) + 1 FROM agent_versions WHERE agent_id = $1";
        Ok(self.change.query_one(sql, &[&self.id.as_str()]).await?.try_get(0)?)
    }

    async fn record(
        &self,
        version: i64,
        config: Option<&str>,
        by: &KeyId,
        now: SystemTime,
    ) -> Result<(), DbError> {
        let sql = "INSERT INTO agent_versions (tenant_id, agent_id, version, config, changed_by, changed_at)
                   VALUES ($1, $2, $3, $4::text::json, $5, $6)";
        let tenant = self.tenant.uuid();
        self.change
            .execute(sql, &[&tenant, &self.id.as_str(), &version, &config, &by.as_str(), &now])
            .await?;
        let tenant_text = self.tenant.to_string();
        self.change.touch(Section::Agents, Some(self.tenant), &[&tenant_text, self.id.as_str()]).await
    }
}

/// Reads a row of `agent_id, version, config::text, created_at, updated_at`.
pub(crate) fn agent(row: &Row) -> Result<Agent, DbError> {
    let config: &str = row.try_get("config")?;
    let mut agent: Agent = serde_json::from_str(config).map_err(|error| {
        DbError::Protocol(format!("an agent's configuration is unreadable at {}", error.column()))
    })?;
    agent.agent_id = row.try_get("agent_id")?;
    agent.version = row.try_get("version")?;
    agent.created_at = timestamp(row.try_get("created_at")?);
    agent.updated_at = timestamp(row.try_get("updated_at")?);
    Ok(agent)
}

fn to_json(agent: &Agent) -> Result<String, DbError> {
    serde_json::to_string(agent)
        .map_err(|error| DbError::Protocol(format!("an agent cannot be written: {error}")))
}
