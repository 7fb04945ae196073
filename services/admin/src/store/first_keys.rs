//! The first tenant of an empty database.

use std::time::SystemTime;

use embermesh_auth::ApiKey;
use embermesh_postgres::DbError;
use embermesh_proto::internal::v1::Section;
use embermesh_types::TenantId;
use serde_json::json;

use super::{
    Store,
    change::{Change, OwnRecord},
    keys,
};
use crate::domain::key::NewKey;

impl Store {
    /// Waits for its turn among all replicas and opens a change, or returns `None` when there is a tenant already.
    pub(crate) async fn begin_first_tenant(&self) -> Result<Option<Change>, DbError> {
        let change = Change::begin(self.database.system().with("app.all_tenants", "on")).await?;
        let any = change.query_opt("SELECT FROM tenants LIMIT 1", &[]).await?.is_some();
        Ok((!any).then_some(change))
    }
}

/// Makes the tenant and its keys, and commits.
pub(crate) async fn create_first_tenant(
    change: Change,
    tenant: TenantId,
    keys: [(&NewKey, &ApiKey); 2],
    now: SystemTime,
) -> Result<(), DbError> {
    change.turn_to(tenant).await?;
    let sql = "INSERT INTO tenants (tenant_id, name, operator, created_at, updated_at) VALUES ($1, 'default', true, $2, $2)";
    change.execute(sql, &[&tenant.uuid(), &now]).await?;
    let (id, details) = (tenant.to_string(), json!({"name": "default", "operator": true}));
    change.touch(Section::Tenants, Some(tenant), &[&id]).await?;
    let action = "tenant.create";
    change.record_own(&OwnRecord { tenant, at: now, action, subject: &id, details }).await?;
    for (new, key) in keys {
        let made = keys::insert(&change, tenant, new, key, now).await?;
        let (action, details) = ("key.create", json!({"name": made.name, "scopes": made.scopes}));
        change.record_own(&OwnRecord { tenant, at: now, action, subject: &made.id, details }).await?;
    }
    change.commit().await.map(drop)
}
