//! API keys. Only hashes are here.

use std::time::{Duration, SystemTime};

use embermesh_auth::ApiKey;
use embermesh_postgres::{DbError, Row};
use embermesh_proto::{internal::v1::Section, v1::Key};
use embermesh_types::{KeyId, TenantId};

use super::{
    Store,
    change::{Change, Changed},
    timestamp,
};
use crate::domain::{key::NewKey, page::Page};

/// Names the list in page tokens.
pub(crate) const LIST: &str = "keys";

const COLUMNS: &str = "id, name, scopes, agent_id, created_at, expires_at, revoked_at";

impl Store {
    pub(crate) async fn create_key(
        &self,
        tenant: TenantId,
        new: &NewKey,
        key: &ApiKey,
        now: SystemTime,
    ) -> Result<Changed<Key>, DbError> {
        let change = Change::begin(self.tenant(tenant)).await?;
        let made = insert(&change, tenant, new, key, now).await?;
        Ok(Changed { made, version: change.commit().await? })
    }

    pub(crate) async fn key(&self, tenant: TenantId, id: &KeyId) -> Result<Option<Key>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE id = $1");
        self.tenant(tenant).query_opt(&sql, &[&id.as_str()]).await?.map(|row| key_of(&row)).transpose()
    }

    /// A page in the order of creation, and the token of the next one. Revoked keys are listed too.
    pub(crate) async fn keys(
        &self,
        tenant: TenantId,
        page: &Page<2>,
    ) -> Result<(Vec<Key>, Option<String>), DbError> {
        let (after_time, after_id) = match &page.after {
            Some([micros, id]) => (micros.parse().map_or(SystemTime::UNIX_EPOCH, from_micros), id.as_str()),
            None => (SystemTime::UNIX_EPOCH, ""),
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM api_keys WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3"
        );
        let rows = self.tenant(tenant).query(&sql, &[&after_time, &after_id, &page.limit()]).await?;
        let mut keys = rows.iter().map(key_of).collect::<Result<Vec<_>, _>>()?;
        let next = page.cut(LIST, &mut keys, |key| [to_micros(key), key.id.clone()]);
        Ok((keys, next))
    }

    /// Withdraws a key for good; one that is withdrawn already stays as it is. `None` when the tenant has no such key.
    pub(crate) async fn revoke_key(
        &self,
        tenant: TenantId,
        id: &KeyId,
        now: SystemTime,
    ) -> Result<Option<Changed<Key>>, DbError> {
        let change = Change::begin(self.tenant(tenant)).await?;
        let sql = format!(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING {COLUMNS}"
        );
        let Some(row) = change.query_opt(&sql, &[&id.as_str(), &now]).await? else { return Ok(None) };
        change.touch(Section::Keys, Some(tenant), &[id.as_str()]).await?;
        let version = change.commit().await?;
        Ok(Some(Changed { made: key_of(&row)?, version }))
    }
}

pub(crate) async fn insert(
    change: &Change,
    tenant: TenantId,
    new: &NewKey,
    key: &ApiKey,
    now: SystemTime,
) -> Result<Key, DbError> {
    let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
    let hash = key.hash();
    let row = change
        .query_one(
            &format!(
                "INSERT INTO api_keys (id, tenant_id, name, hash, scopes, agent_id, created_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING {COLUMNS}"
            ),
            &[
                &key.id().as_str(),
                &tenant.uuid(),
                &new.name,
                &hash.as_bytes().as_slice(),
                &scopes,
                &new.agent.as_ref().map(|agent| agent.as_str()),
                &now,
                &new.expires_at,
            ],
        )
        .await?;
    change.touch(Section::Keys, Some(tenant), &[key.id().as_str()]).await?;
    key_of(&row)
}

fn key_of(row: &Row) -> Result<Key, DbError> {
    Ok(Key {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        scopes: row.try_get("scopes")?,
        agent_id: row.try_get("agent_id")?,
        created_at: timestamp(row.try_get("created_at")?),
        expires_at: row.try_get::<_, Option<SystemTime>>("expires_at")?.and_then(timestamp),
        revoked_at: row.try_get::<_, Option<SystemTime>>("revoked_at")?.and_then(timestamp),
    })
}

fn to_micros(key: &Key) -> String {
    let time = key.created_at.unwrap_or_default();
    (time.seconds * 1_000_000 + i64::from(time.nanos / 1000)).to_string()
}

fn from_micros(micros: u64) -> SystemTime {
    // beyond what PostgreSQL can hold is the end of the list
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros.min(253_402_300_799_000_000))
}
