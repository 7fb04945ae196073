//! Agents: the configuration in force, and every one that ever was.

use std::{collections::HashSet, time::SystemTime};

use embermesh_postgres::{DbError, Row};
use embermesh_proto::{
    internal::v1::Section,
    v1::{Agent, AgentVersion, PiiPolicy},
};
use embermesh_types::{AgentId, KeyId, TenantId};
use serde_json::json;

use super::{
    Store, catalog,
    change::{Change, Changed, NewRecord},
    pii_policies, timestamp,
};
use crate::domain::{
    agent::{NO_METADATA, changed_fields},
    page::Page,
};

/// Names the list in page tokens.
pub(crate) const LIST: &str = "agents";

const COLUMNS: &str = "agent_id, version, config::text, created_at, updated_at";
/// Of the history.
const VERSION_COLUMNS: &str = "agent_id, version, config::text, changed_by, changed_at";

/// Names the history of an agent in page tokens.
pub(crate) fn history_of(id: &AgentId) -> String {
    format!("agent_versions of {id}")
}

/// A change of one agent, with what is there now.
pub(crate) struct AgentChange {
    change: Change,
    tenant: TenantId,
    id: AgentId,
    pub(crate) current: Option<Agent>,
}

/// What the history and the audit chain are told of a change, beside what has changed.
#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) key: &'a KeyId,
    pub(crate) at: SystemTime,
    /// Such as `agent.put`.
    pub(crate) action: &'static str,
    /// The version that was gone back to.
    pub(crate) to_version: Option<i64>,
}

impl Store {
    pub(crate) async fn agent(&self, tenant: TenantId, id: &AgentId) -> Result<Option<Agent>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM agents WHERE agent_id = $1");
        self.tenant(tenant).query_opt(&sql, &[&id.as_str()]).await?.map(|row| agent(&row)).transpose()
    }

    /// The configuration that the agent runs on: its own, else that of the agent `default`.
    pub(crate) async fn agent_or_default(
        &self,
        tenant: TenantId,
        id: &AgentId,
    ) -> Result<Option<Agent>, DbError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM agents WHERE agent_id IN ($1, $2) ORDER BY agent_id = $1 DESC LIMIT 1"
        );
        let row = self.tenant(tenant).query_opt(&sql, &[&id.as_str(), &AgentId::DEFAULT]).await?;
        row.map(|row| agent(&row)).transpose()
    }

    /// A page of what the agent ever had, newest first, and the token of the next one; of the versions below `before` alone.
    pub(crate) async fn agent_versions(
        &self,
        tenant: TenantId,
        id: &AgentId,
        before: i64,
        page: &Page<1>,
    ) -> Result<(Vec<AgentVersion>, Option<String>), DbError> {
        let sql = format!(
            "SELECT {VERSION_COLUMNS} FROM agent_versions WHERE agent_id = $1 AND version < $2
             ORDER BY version DESC LIMIT $3"
        );
        let rows = self.tenant(tenant).query(&sql, &[&id.as_str(), &before, &page.limit()]).await?;
        let mut versions = rows.iter().map(agent_version).collect::<Result<Vec<_>, _>>()?;
        let next = page.cut(&history_of(id), &mut versions, |one| [one.version.to_string()]);
        Ok((versions, next))
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
        catalog::known_models(&self.change, ids).await
    }

    /// The tenant's own policy about personal data, whose entities the agent may list.
    pub(crate) async fn pii_policy(&self) -> Result<Option<PiiPolicy>, DbError> {
        pii_policies::of_change(&self.change).await
    }

    /// What a rollback goes back to: the version of this number; without one the version before the current, or, of an agent
    /// that is deleted, the last that has a configuration.
    pub(crate) async fn earlier(&self, version: Option<i64>) -> Result<Option<AgentVersion>, DbError> {
        let (condition, number) = match (version, &self.current) {
            (Some(wanted), _) => ("version = $2", wanted),
            (None, Some(current)) => ("version < $2", current.version),
            (None, None) => ("version < $2 AND config IS NOT NULL", i64::MAX),
        };
        let sql = format!(
            "SELECT {VERSION_COLUMNS} FROM agent_versions WHERE agent_id = $1 AND {condition}
             ORDER BY version DESC LIMIT 1"
        );
        let row = self.change.query_opt(&sql, &[&self.id.as_str(), &number]).await?;
        row.map(|row| agent_version(&row)).transpose()
    }

    /// Puts `agent` in force and returns it with its version.
    pub(crate) async fn put(self, mut agent: Agent, by: By<'_>) -> Result<Changed<Agent>, DbError> {
        agent.version = self.next_version().await?;
        let created = self.current.as_ref().and_then(|current| current.created_at);
        agent.created_at = created.or_else(|| timestamp(by.at));
        agent.updated_at = timestamp(by.at);
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
                &[&tenant, &self.id.as_str(), &agent.version, &config, &by.at],
            )
            .await?;
        let agent = self::agent(&row)?;
        self.note(agent.version, Some((&agent, &config)), by).await?;
        Ok(Changed { made: agent, version: self.change.commit().await? })
    }

    /// Takes the configuration out of force. Pins stay: the vectors do too.
    pub(crate) async fn delete(self, by: By<'_>) -> Result<Changed<()>, DbError> {
        let version = self.next_version().await?;
        self.change.execute("DELETE FROM agents WHERE agent_id = $1", &[&self.id.as_str()]).await?;
        self.note(version, None, by).await?;
        Ok(Changed { made: (), version: self.change.commit().await? })
    }

    /// Goes on counting through deletions, so that a version never means two things.
    async fn next_version(&self) -> Result<i64, DbError> {
        let sql = "SELECT coalesce(max(version), 0) + 1 FROM agent_versions WHERE agent_id = $1";
        Ok(self.change.query_one(sql, &[&self.id.as_str()]).await?.try_get(0)?)
    }

    /// Tells the history, the audit chain and the stream of a new version, which is a deletion when nothing was `put`.
    async fn note(&self, version: i64, put: Option<(&Agent, &str)>, by: By<'_>) -> Result<(), DbError> {
        let (after, config) = put.unzip();
        let sql = "INSERT INTO agent_versions (tenant_id, agent_id, version, config, changed_by, changed_at)
                   VALUES ($1, $2, $3, $4::text::json, $5, $6)";
        let (tenant, id) = (self.tenant.uuid(), self.id.as_str());
        self.change.execute(sql, &[&tenant, &id, &version, &config, &by.key.as_str(), &by.at]).await?;

        let nothing = Agent::default();
        let before = self.current.as_ref().unwrap_or(&nothing);
        // names alone: metadata may hold anything
        let fields = changed_fields(before, after.unwrap_or(&nothing));
        let mut details = json!({"version": version, "fields": fields});
        if let Some(to_version) = by.to_version {
            details["to_version"] = to_version.into();
        }
        let By { key, at, action, .. } = by;
        let record = NewRecord { tenant: self.tenant, by: key, at, action, subject: id, details };
        self.change.record(&record).await?;
        self.change.touch(Section::Agents, Some(self.tenant), &[&self.tenant.to_string(), id]).await
    }
}

/// Reads a row of `agent_id, version, config::text, created_at, updated_at`.
pub(crate) fn agent(row: &Row) -> Result<Agent, DbError> {
    let mut agent = from_json(row.try_get("config")?)?;
    agent.agent_id = row.try_get("agent_id")?;
    agent.version = row.try_get("version")?;
    agent.created_at = timestamp(row.try_get("created_at")?);
    agent.updated_at = timestamp(row.try_get("updated_at")?);
    Ok(agent)
}

/// Reads a row of `agent_id, version, config::text, changed_by, changed_at`.
fn agent_version(row: &Row) -> Result<AgentVersion, DbError> {
    let version = row.try_get("version")?;
    let changed_at = timestamp(row.try_get("changed_at")?);
    let config: Option<&str> = row.try_get("config")?;
    let mut agent = config.map(from_json).transpose()?;
    if let Some(agent) = &mut agent {
        agent.agent_id = row.try_get("agent_id")?;
        agent.version = version;
        agent.updated_at = changed_at;
        // the text keeps nanoseconds, the columns that an agent is otherwise read from do not
        agent.created_at =
            agent.created_at.map(|at| prost_types::Timestamp { nanos: at.nanos / 1000 * 1000, ..at });
    }
    let deleted = agent.is_none();
    Ok(AgentVersion { version, deleted, agent, changed_by: row.try_get("changed_by")?, changed_at })
}

fn from_json(config: &str) -> Result<Agent, DbError> {
    let mut agent: Agent = serde_json::from_str(config).map_err(|error| {
        DbError::Protocol(format!("an agent's configuration is unreadable at {}", error.column()))
    })?;
    // no metadata is written as an empty object
    if agent.metadata == NO_METADATA {
        agent.metadata.clear();
    }
    Ok(agent)
}

fn to_json(agent: &Agent) -> Result<String, DbError> {
    serde_json::to_string(agent)
        .map_err(|error| DbError::Protocol(format!("an agent cannot be written: {error}")))
}
