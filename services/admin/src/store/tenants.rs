//! Tenants, as their operator sees them. A change of one is recorded in the operator's audit chain and in the tenant's own.

use std::{collections::HashSet, time::SystemTime};

use embermesh_auth::{ApiKey, Scope, Scopes};
use embermesh_postgres::{DbError, Row, types::ToSql};
use embermesh_proto::{
    internal::v1::{Section, TenantEntry},
    v1::{CreatedTenant, Quotas, Tenant},
};
use embermesh_types::TenantId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Store, catalog,
    change::{Author, Change, Changed},
    keys, timestamp,
};
use crate::domain::{key::NewKey, page::Page, quotas, tenant::NewTenant};

/// Names the list in page tokens.
pub(crate) const LIST: &str = "tenants";

/// What [`tenant_of`] and [`entry_of`] read.
const SELECT: &str =
    "SELECT tenant_id, name, operator, suspended, allowed_models, default_models, version, created_at,
    updated_at, closed_at, requests_per_day, requests_per_month, tokens_per_day, tokens_per_month, retention_days FROM tenants";

/// Reads every tenant, for the stream.
pub(crate) const EVERY: &str = SELECT;

/// A tenant that is being made.
pub(crate) struct NewTenantChange {
    change: Change,
}

/// A change of one tenant, with what is there now.
pub(crate) struct TenantChange {
    change: Change,
    id: TenantId,
    pub(crate) current: Tenant,
}

impl Store {
    /// Whether a tenant is the operator's.
    pub(crate) async fn is_operator(&self, tenant: TenantId) -> Result<bool, DbError> {
        let sql = "SELECT FROM tenants WHERE tenant_id = $1 AND operator";
        Ok(self.tenant(tenant).query_opt(sql, &[&tenant.uuid()]).await?.is_some())
    }

    /// The default models of a tenant, and those that it may use.
    pub(crate) async fn models_of_tenant(
        &self,
        tenant: TenantId,
    ) -> Result<(Vec<String>, Vec<String>), DbError> {
        let sql = "SELECT default_models, allowed_models FROM tenants WHERE tenant_id = $1";
        match self.tenant(tenant).query_opt(sql, &[&tenant.uuid()]).await? {
            Some(row) => Ok((row.try_get(0)?, row.try_get(1)?)),
            None => Ok((Vec::new(), Vec::new())),
        }
    }

    /// Any tenant.
    pub(crate) async fn any_tenant(&self, id: Uuid) -> Result<Option<Tenant>, DbError> {
        let sql = format!("{SELECT} WHERE tenant_id = $1");
        self.all_tenants().query_opt(&sql, &[&id]).await?.map(|row| tenant_of(&row)).transpose()
    }

    /// A page in the order of the ids, and the token of the next one.
    pub(crate) async fn every_tenant(
        &self,
        page: &Page<1>,
    ) -> Result<(Vec<Tenant>, Option<String>), DbError> {
        // what is no UUID is no token of ours; it begins at the first
        let after = page.after.as_ref().and_then(|[id]| id.parse::<Uuid>().ok());
        let sql = format!("{SELECT} WHERE $1::uuid IS NULL OR tenant_id > $1 ORDER BY tenant_id LIMIT $2");
        let rows = self.all_tenants().query(&sql, &[&after, &page.limit()]).await?;
        let mut tenants = rows.iter().map(tenant_of).collect::<Result<Vec<_>, _>>()?;
        let next = page.cut(LIST, &mut tenants, |tenant| [tenant.id.clone()]);
        Ok((tenants, next))
    }

    /// Begins to make a tenant, in the name of the operator's.
    pub(crate) async fn new_tenant(&self, operator: TenantId) -> Result<NewTenantChange, DbError> {
        let session = self.tenant(operator).with("app.all_tenants", "on");
        Ok(NewTenantChange { change: Change::begin(session).await? })
    }

    /// Begins to change a tenant, in the name of the operator's. `None` when there is no such tenant.
    pub(crate) async fn change_tenant(
        &self,
        operator: TenantId,
        id: Uuid,
    ) -> Result<Option<TenantChange>, DbError> {
        let change = Change::begin(self.tenant(operator).with("app.all_tenants", "on")).await?;
        let row = change.query_opt(&format!("{SELECT} WHERE tenant_id = $1"), &[&id]).await?;
        let Some(row) = row else { return Ok(None) };
        let current = tenant_of(&row)?;
        Ok(Some(TenantChange { change, id: TenantId::new(id), current }))
    }
}

impl NewTenantChange {
    /// Those of the ids that the catalog holds.
    pub(crate) async fn known_models(&self, ids: &[&[String]]) -> Result<HashSet<String>, DbError> {
        catalog::known_models(&self.change, &flat(ids)).await
    }

    /// Whether a tenant, closed or not, has this name.
    pub(crate) async fn is_taken(&self, name: &str) -> Result<bool, DbError> {
        is_taken(&self.change, name, Uuid::nil()).await
    }

    /// Makes it with its first admin key.
    pub(crate) async fn make(
        self,
        new: &NewTenant,
        key: &ApiKey,
        author: Author<'_>,
    ) -> Result<Changed<CreatedTenant>, DbError> {
        let Self { change } = self;
        let id = TenantId::new(Uuid::now_v7());
        change.turn_to(id).await?;
        let sql =
            "INSERT INTO tenants (tenant_id, name, allowed_models, default_models, created_at, updated_at,
                       requests_per_day, requests_per_month, tokens_per_day, tokens_per_month, retention_days)
                   VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10)";
        let NewTenant { name, allowed_models, default_models, quotas, retention_days } = new;
        let ([a, b, c, d], days) = (limits(quotas.as_ref()), days(*retention_days));
        let values: [&(dyn ToSql + Sync); 10] =
            [&id.uuid(), name, allowed_models, default_models, &author.at, &a, &b, &c, &d, &days];
        change.execute(sql, &values).await?;
        let admin = NewKey {
            name: "first admin key".to_owned(),
            scopes: Scopes::from_iter([Scope::Admin]),
            agent: None,
            expires_at: None,
        };
        let made = keys::insert(&change, id, &admin, key, author.at).await?;
        touch(&change, id).await?;
        let id_text = id.to_string();
        let details = json!({
            "name": name, "allowed_models": allowed_models, "default_models": default_models, "quotas": quotas,
            "retention_days": retention_days, "admin_key_id": made.id,
        });
        record(&change, author, id, "tenant.create", details).await?;
        let version = change.commit().await?;
        let made = CreatedTenant {
            id: id_text,
            name: name.clone(),
            allowed_models: allowed_models.clone(),
            default_models: default_models.clone(),
            version: 1,
            created_at: timestamp(author.at),
            admin_key_id: made.id,
            admin_key: key.reveal().to_owned(),
            quotas: *quotas,
            retention_days: *retention_days,
        };
        Ok(Changed { made, version })
    }
}

impl TenantChange {
    /// Those of the ids that the catalog holds.
    pub(crate) async fn known_models(&self, ids: &[&[String]]) -> Result<HashSet<String>, DbError> {
        catalog::known_models(&self.change, &flat(ids)).await
    }

    /// Whether another tenant has this name.
    pub(crate) async fn is_taken(&self, name: &str) -> Result<bool, DbError> {
        is_taken(&self.change, name, self.id.uuid()).await
    }

    /// Leaves everything as it is.
    pub(crate) fn leave(self) -> Changed<Tenant> {
        Changed { version: self.change.version() - 1, made: self.current }
    }

    /// Puts `next` in force.
    pub(crate) async fn put(self, next: &Tenant, author: Author<'_>) -> Result<Changed<Tenant>, DbError> {
        self.change.turn_to(self.id).await?;
        let sql = "UPDATE tenants SET name = $2, suspended = $3, allowed_models = $4, default_models = $5,
                       version = version + 1, updated_at = $6, requests_per_day = $7, requests_per_month = $8,
                       tokens_per_day = $9, tokens_per_month = $10, retention_days = $11
                   WHERE tenant_id = $1";
        let Tenant { name, suspended, allowed_models, default_models, quotas, retention_days, .. } = next;
        let (id, [a, b, c, d], days) = (self.id.uuid(), limits(quotas.as_ref()), days(*retention_days));
        let values: [&(dyn ToSql + Sync); 11] =
            [&id, name, suspended, allowed_models, default_models, &author.at, &a, &b, &c, &d, &days];
        self.change.execute(sql, &values).await?;
        let details = json!({"now": terms(next), "before": terms(&self.current)});
        self.finish("tenant.update", details, author).await
    }

    /// Closes the tenant for good, and revokes its keys: also for gateways that know nothing of closed tenants.
    pub(crate) async fn close(self, author: Author<'_>) -> Result<Changed<Tenant>, DbError> {
        self.change.turn_to(self.id).await?;
        let id = self.id.uuid();
        let close =
            "UPDATE tenants SET closed_at = $2, version = version + 1, updated_at = $2 WHERE tenant_id = $1";
        self.change.execute(close, &[&id, &author.at]).await?;
        let revoke =
            "UPDATE api_keys SET revoked_at = $2 WHERE tenant_id = $1 AND revoked_at IS NULL RETURNING id";
        let revoked = self.change.query(revoke, &[&id, &author.at]).await?;
        for row in &revoked {
            self.change.touch(Section::Keys, Some(self.id), &[row.try_get("id")?]).await?;
        }
        let details = json!({"name": self.current.name, "revoked_keys": revoked.len()});
        self.finish("tenant.delete", details, author).await
    }

    async fn finish(
        self,
        action: &'static str,
        details: Value,
        author: Author<'_>,
    ) -> Result<Changed<Tenant>, DbError> {
        touch(&self.change, self.id).await?;
        let sql = format!("{SELECT} WHERE tenant_id = $1");
        let made = tenant_of(&self.change.query_one(&sql, &[&self.id.uuid()]).await?)?;
        record(&self.change, author, self.id, action, details).await?;
        Ok(Changed { made, version: self.change.commit().await? })
    }
}

/// In the operator's chain, and in the tenant's own, whose people see there what was done to it.
async fn record(
    change: &Change,
    author: Author<'_>,
    tenant: TenantId,
    action: &'static str,
    details: Value,
) -> Result<(), DbError> {
    let subject = tenant.to_string();
    change.record(&author.did(action, &subject, details.clone())).await?;
    if tenant != author.tenant {
        change.record(&Author { tenant, ..author }.did(action, &subject, details)).await?;
    }
    Ok(())
}

async fn touch(change: &Change, tenant: TenantId) -> Result<(), DbError> {
    change.touch(Section::Tenants, Some(tenant), &[&tenant.to_string()]).await
}

fn flat<'a>(lists: &[&'a [String]]) -> Vec<&'a str> {
    lists.iter().copied().flatten().map(String::as_str).collect()
}

async fn is_taken(change: &Change, name: &str, but: Uuid) -> Result<bool, DbError> {
    let sql = "SELECT FROM tenants WHERE name = $1 AND tenant_id <> $2";
    Ok(change.query_opt(sql, &[&name, &but]).await?.is_some())
}

/// As columns: by day and month, of requests, then of tokens.
fn limits(quotas: Option<&Quotas>) -> [Option<i64>; 4] {
    let mut quotas = quotas.copied().unwrap_or_default();
    // larger ones were refused
    quotas::named(&mut quotas).map(|(_, limit)| limit.and_then(|limit| i64::try_from(limit).ok()))
}

/// As a column.
fn days(retention: Option<u32>) -> Option<i32> {
    // larger ones were refused
    retention.and_then(|days| i32::try_from(days).ok())
}

/// What a record says of a tenant.
fn terms(tenant: &Tenant) -> Value {
    let Tenant { name, suspended, allowed_models, default_models, quotas, retention_days, .. } = tenant;
    json!({
        "name": name, "suspended": suspended, "allowed_models": allowed_models, "default_models": default_models,
        "quotas": quotas, "retention_days": retention_days,
    })
}

fn tenant_of(row: &Row) -> Result<Tenant, DbError> {
    let time = |name: &str| -> Result<Option<prost_types::Timestamp>, DbError> {
        Ok(row.try_get::<_, Option<SystemTime>>(name)?.and_then(timestamp))
    };
    let mut quotas = Quotas::default();
    for (column, limit) in quotas::named(&mut quotas) {
        *limit = row.try_get::<_, Option<i64>>(column)?.map(|limit| u64::try_from(limit).unwrap_or_default());
    }
    Ok(Tenant {
        id: row.try_get::<_, Uuid>("tenant_id")?.to_string(),
        name: row.try_get("name")?,
        operator: row.try_get("operator")?,
        suspended: row.try_get("suspended")?,
        allowed_models: row.try_get("allowed_models")?,
        default_models: row.try_get("default_models")?,
        version: row.try_get("version")?,
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
        closed_at: time("closed_at")?,
        quotas: quotas::merge(None, Some(quotas)),
        retention_days: row
            .try_get::<_, Option<i32>>("retention_days")?
            .and_then(|days| u32::try_from(days).ok()),
    })
}

/// Reads a row of [`EVERY`].
pub(crate) fn entry_of(row: &Row) -> Result<TenantEntry, DbError> {
    let tenant = tenant_of(row)?;
    Ok(TenantEntry {
        tenant_id: tenant.id,
        operator: tenant.operator,
        suspended: tenant.suspended,
        closed: tenant.closed_at.is_some(),
        allowed_models: tenant.allowed_models,
        default_models: tenant.default_models,
        quotas: tenant.quotas,
        retention_days: tenant.retention_days,
    })
}
