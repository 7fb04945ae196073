//! The tenants' own policies about personal data, at most one each.

use embermesh_postgres::{DbError, Row};
use embermesh_proto::{
    internal::v1::{PolicyEntry, Section},
    v1::PiiPolicy,
};
use embermesh_types::TenantId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Store,
    change::{Author, Change, Changed},
    timestamp,
};

/// What [`policy_of`] and [`entry_of`] read.
pub(crate) const SELECT: &str =
    "SELECT tenant_id, version, policy::text, created_at, updated_at FROM pii_policies";

/// A change of a tenant's policy, with what is there now.
pub(crate) struct PolicyChange {
    change: Change,
    tenant: TenantId,
    pub(crate) current: Option<PiiPolicy>,
}

impl Store {
    pub(crate) async fn pii_policy(&self, tenant: TenantId) -> Result<Option<PiiPolicy>, DbError> {
        self.tenant(tenant).query_opt(SELECT, &[]).await?.map(|row| policy_of(&row)).transpose()
    }

    pub(crate) async fn change_pii_policy(&self, tenant: TenantId) -> Result<PolicyChange, DbError> {
        let change = Change::begin(self.tenant(tenant)).await?;
        let current = of_change(&change).await?;
        Ok(PolicyChange { change, tenant, current })
    }
}

/// The policy of the tenant of a change.
pub(super) async fn of_change(change: &Change) -> Result<Option<PiiPolicy>, DbError> {
    change.query_opt(SELECT, &[]).await?.map(|row| policy_of(&row)).transpose()
}

impl PolicyChange {
    /// Agents whose configuration lists an entity that is neither built in nor among `known`.
    pub(crate) async fn agents_beyond(&self, known: &[String]) -> Result<Vec<String>, DbError> {
        let mut known: Vec<&str> = known.iter().map(String::as_str).collect();
        known.extend(embermesh_pii::Entity::BUILT_IN.iter().map(embermesh_pii::Entity::as_str));
        known.push("ssn");
        let sql = "SELECT agent_id FROM agents
                   WHERE EXISTS (
                       SELECT FROM json_array_elements_text(
                           CASE json_typeof(config -> 'pii' -> 'entities')
                               WHEN 'array' THEN config -> 'pii' -> 'entities' ELSE '[]'::json END
                       ) AS entity
                       WHERE NOT entity = ANY ($1)
                   )
                   ORDER BY agent_id LIMIT 10";
        self.change.query(sql, &[&known]).await?.iter().map(|row| Ok(row.try_get("agent_id")?)).collect()
    }

    /// Puts `policy` in force and returns it with its version.
    pub(crate) async fn put(
        self,
        policy: &PiiPolicy,
        author: Author<'_>,
    ) -> Result<Changed<PiiPolicy>, DbError> {
        let sql = "INSERT INTO pii_policies (tenant_id, version, policy, created_at, updated_at)
                   VALUES ($1, 1, $2::text::json, $3, $3)
                   ON CONFLICT (tenant_id) DO UPDATE SET version = pii_policies.version + 1,
                       policy = excluded.policy, updated_at = excluded.updated_at";
        let content = content(policy)?;
        self.change.execute(sql, &[&self.tenant.uuid(), &content.to_string(), &author.at]).await?;
        let made = of_change(&self.change).await?;
        let made = made.ok_or_else(|| DbError::Protocol("a policy that was put is not there".to_owned()))?;
        let details = match &self.current {
            None => content,
            Some(before) => json!({"now": content, "before": self::content(before)?}),
        };
        self.finish("policy.put", details, author, made).await
    }

    /// Takes the policy out of force.
    pub(crate) async fn delete(
        self,
        current: PiiPolicy,
        author: Author<'_>,
    ) -> Result<Changed<PiiPolicy>, DbError> {
        self.change.execute("DELETE FROM pii_policies WHERE tenant_id = $1", &[&self.tenant.uuid()]).await?;
        let details = content(&current)?;
        self.finish("policy.delete", details, author, current).await
    }

    async fn finish(
        self,
        action: &'static str,
        details: Value,
        author: Author<'_>,
        made: PiiPolicy,
    ) -> Result<Changed<PiiPolicy>, DbError> {
        let key = self.tenant.to_string();
        self.change.touch(Section::Policies, Some(self.tenant), &[&key]).await?;
        self.change.record(&author.did(action, "pii", details)).await?;
        Ok(Changed { made, version: self.change.commit().await? })
    }
}

/// The policy without its version and times.
fn content(policy: &PiiPolicy) -> Result<Value, DbError> {
    let bare = PiiPolicy { version: 0, created_at: None, updated_at: None, ..policy.clone() };
    let unwritable = |error| DbError::Protocol(format!("a policy cannot be written: {error}"));
    let mut content = serde_json::to_value(&bare).map_err(unwritable)?;
    if let Value::Object(members) = &mut content {
        members.remove("version");
    }
    Ok(content)
}

/// Reads a row of [`SELECT`].
fn policy_of(row: &Row) -> Result<PiiPolicy, DbError> {
    let content: PiiPolicy = serde_json::from_str(row.try_get("policy")?)
        .map_err(|error| DbError::Protocol(format!("a policy is unreadable at {}", error.column())))?;
    Ok(PiiPolicy {
        version: row.try_get("version")?,
        created_at: timestamp(row.try_get("created_at")?),
        updated_at: timestamp(row.try_get("updated_at")?),
        ..content
    })
}

/// Reads a row of [`SELECT`], for the stream.
pub(crate) fn entry_of(row: &Row) -> Result<PolicyEntry, DbError> {
    let tenant_id = row.try_get::<_, Uuid>("tenant_id")?.to_string();
    Ok(PolicyEntry { tenant_id, pii: Some(policy_of(row)?) })
}
