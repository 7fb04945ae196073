//! API keys. Only hashes are here.

mod handover;

use std::time::{Duration, SystemTime};

use embermesh_auth::ApiKey;
use embermesh_postgres::{DbError, Row};
use embermesh_proto::{internal::v1::Section, v1::Key};
use embermesh_types::{KeyId, TenantId};
use serde_json::{Map, Value, json};

use super::{
    Store,
    change::{Author, Change, Changed},
    timestamp,
};
use crate::domain::{
    handover::Handover,
    key::{KeyUpdate, NewKey},
    page::Page,
    rotation::{KeyState, Rotation},
};

/// Names the list in page tokens.
pub(crate) const LIST: &str = "keys";

/// What [`key_of`] reads.
const COLUMNS: &str =
    "id, name, scopes, agent_id, created_at, expires_at, revoked_at, last_used_at, successor_id,
     rotation_due_at, handover_id";

/// A change of one key, with what is there now.
pub(crate) struct KeyChange {
    change: Change,
    /// The key that all versions of this one come from.
    first_id: String,
    pub(crate) key: Key,
    pub(crate) state: KeyState,
    pub(crate) handover: Handover,
}

/// What a rotation has made.
#[derive(Debug)]
pub(crate) struct Rotated {
    pub(crate) successor: Key,
    pub(crate) predecessor: Key,
}

impl Store {
    pub(crate) async fn create_key(
        &self,
        new: &NewKey,
        key: &ApiKey,
        author: Author<'_>,
    ) -> Result<Changed<Key>, DbError> {
        let change = Change::begin(self.tenant(author.tenant)).await?;
        let made = insert(&change, author.tenant, new, key, author.at).await?;
        let details = json!({
            "name": made.name,
            "scopes": made.scopes,
            "agent_id": made.agent_id,
            "expires_at": written(new.expires_at),
        });
        change.record(&author.did("key.create", &made.id, details)).await?;
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

    /// `None` when the tenant has no such key.
    pub(crate) async fn change_key(
        &self,
        tenant: TenantId,
        id: &KeyId,
    ) -> Result<Option<KeyChange>, DbError> {
        let change = Change::begin(self.tenant(tenant)).await?;
        let sql = format!(
            "SELECT {COLUMNS}, overlap_ends_at, own_expires_at, coalesce(first_id, id) AS first_id, handed_over_at
             FROM api_keys WHERE id = $1"
        );
        let Some(row) = change.query_opt(&sql, &[&id.as_str()]).await? else { return Ok(None) };
        let state = KeyState {
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
            revoked: row.try_get::<_, Option<SystemTime>>("revoked_at")?.is_some(),
            overlap_ends_at: row.try_get("overlap_ends_at")?,
            own_expires_at: row.try_get("own_expires_at")?,
        };
        let (key, first_id) = (key_of(&row)?, row.try_get("first_id")?);
        let handover = handover::of(&change, &row).await?;
        Ok(Some(KeyChange { change, first_id, key, state, handover }))
    }
}

impl KeyChange {
    /// Another version of the key that works at `now`, but for one that was given out and never used.
    pub(crate) async fn other_version(&self, now: SystemTime) -> Result<Option<String>, DbError> {
        let sql = "SELECT id FROM api_keys
             WHERE (id = $1 OR first_id = $1) AND id <> $2 AND id IS DISTINCT FROM $4 AND revoked_at IS NULL
                 AND (expires_at IS NULL OR expires_at > $3)
             LIMIT 1";
        let given = self.handover.given.as_ref().filter(|given| !given.used).map(|given| given.id.as_str());
        let row = self.change.query_opt(sql, &[&self.first_id, &self.key.id, &now, &given]).await?;
        row.map(|row| Ok(row.try_get("id")?)).transpose()
    }

    /// Leaves everything as it is. What the answer shows has been in force since the version before this one at the latest.
    pub(crate) fn leave(self) -> Changed<Key> {
        Changed { version: self.change.version() - 1, made: self.key }
    }

    /// Puts what `update` holds in force.
    pub(crate) async fn update(
        self,
        update: &KeyUpdate,
        author: Author<'_>,
    ) -> Result<Changed<Key>, DbError> {
        let sql = format!(
            "UPDATE api_keys SET name = coalesce($2, name), expires_at = coalesce($3, expires_at)
             WHERE id = $1 RETURNING {COLUMNS}"
        );
        let row = self.change.query_one(&sql, &[&self.key.id, &update.name, &update.expires_at]).await?;
        let mut details = Map::new();
        if let Some(name) = &update.name {
            details.insert("name".to_owned(), name.clone().into());
        }
        if let Some(end) = written(update.expires_at) {
            details.insert("expires_at".to_owned(), end.into());
        }
        self.finish("key.update", details.into(), author, &row).await
    }

    /// Withdraws the key for good.
    pub(crate) async fn revoke(self, author: Author<'_>) -> Result<Changed<Key>, DbError> {
        // whoever took it may be whom the key is withdrawn from
        let withdrawn = self.withdraw_given(author).await?;
        let sql = format!("UPDATE api_keys SET revoked_at = $2 WHERE id = $1 RETURNING {COLUMNS}");
        let row = self.change.query_one(&sql, &[&self.key.id, &author.at]).await?;
        let mut details = json!({"name": self.key.name});
        if let Some(withdrawn) = withdrawn {
            details["handover_id"] = withdrawn.into();
        }
        self.finish("key.revoke", details, author, &row).await
    }

    /// Makes `secret` the successor of the key, with the same name, scopes and agent.
    pub(crate) async fn rotate(
        self,
        rotation: &Rotation,
        secret: &ApiKey,
        author: Author<'_>,
    ) -> Result<Changed<Rotated>, DbError> {
        self.withdraw_given(author).await?;
        let successor = self.insert_successor(secret, rotation.successor_expires_at, author).await?;
        let (Self { change, key, .. }, tenant) = (self, author.tenant);
        let id = successor.id.as_str();
        let end = format!(
            "UPDATE api_keys SET successor_id = $2, expires_at = $3, overlap_ends_at = $4,
                 handover_id = NULL, handed_over_at = NULL, rotation_due_at = NULL,
                 own_expires_at = CASE WHEN successor_id IS NULL THEN expires_at ELSE own_expires_at END
             WHERE id = $1 RETURNING {COLUMNS}"
        );
        let row =
            change.query_one(&end, &[&key.id, &id, &rotation.ends_at, &rotation.overlap_ends_at]).await?;
        let predecessor = key_of(&row)?;
        change.touch(Section::Keys, Some(tenant), &[&key.id]).await?;
        let details = json!({
            "name": key.name,
            "successor_id": id,
            "works_until": written(Some(rotation.ends_at)),
            "successor_expires_at": written(rotation.successor_expires_at),
        });
        change.record(&author.did("key.rotate", &key.id, details)).await?;
        Ok(Changed { made: Rotated { successor, predecessor }, version: change.commit().await? })
    }

    /// Another version of the key, with the same name, scopes and agent.
    async fn insert_successor(
        &self,
        secret: &ApiKey,
        expires_at: Option<SystemTime>,
        author: Author<'_>,
    ) -> Result<Key, DbError> {
        let sql = format!(
            "INSERT INTO api_keys (id, tenant_id, name, hash, scopes, agent_id, created_at, expires_at, first_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {COLUMNS}"
        );
        let Self { change, first_id, key, .. } = self;
        let (id, hash) = (secret.id().as_str(), secret.hash());
        let row = change
            .query_one(
                &sql,
                &[
                    &id,
                    &author.tenant.uuid(),
                    &key.name,
                    &hash.as_bytes().as_slice(),
                    &key.scopes,
                    &key.agent_id,
                    &author.at,
                    &expires_at,
                    first_id,
                ],
            )
            .await?;
        change.touch(Section::Keys, Some(author.tenant), &[id]).await?;
        key_of(&row)
    }

    async fn finish(
        self,
        action: &'static str,
        details: Value,
        author: Author<'_>,
        row: &Row,
    ) -> Result<Changed<Key>, DbError> {
        let made = key_of(row)?;
        self.change.touch(Section::Keys, Some(author.tenant), &[&made.id]).await?;
        self.change.record(&author.did(action, &made.id, details)).await?;
        Ok(Changed { made, version: self.change.commit().await? })
    }
}

/// A time in a record.
fn written(time: Option<SystemTime>) -> Option<String> {
    time.map(|time| humantime::format_rfc3339_micros(time).to_string())
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
        last_used_at: row.try_get::<_, Option<SystemTime>>("last_used_at")?.and_then(timestamp),
        successor_id: row.try_get("successor_id")?,
        rotation_due_at: row.try_get::<_, Option<SystemTime>>("rotation_due_at")?.and_then(timestamp),
        handover_id: row.try_get("handover_id")?,
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
