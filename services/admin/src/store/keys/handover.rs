//! Successors that holders of keys ask for, and what becomes of both keys.

use std::time::{Duration, SystemTime};

use embermesh_auth::ApiKey;
use embermesh_postgres::{DbError, Row};
use embermesh_proto::{internal::v1::Section, v1::Key};
use embermesh_types::TenantId;
use serde_json::json;

use super::{COLUMNS, KeyChange, key_of, written};
use crate::{
    domain::handover::{Given, Handover},
    store::{
        Store,
        change::{Author, Change, Changed, OwnRecord},
    },
};

/// Keys that become due in one change.
const TOGETHER: i64 = 500;

/// What is due: keys of that age whose rotation has not begun.
const YOUNG_ENOUGH: &str =
    "created_at <= $1 AND rotation_due_at IS NULL AND successor_id IS NULL AND revoked_at IS NULL
     AND (expires_at IS NULL OR expires_at > $2)";

/// How many keys somebody should look after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Their holders have not taken and used a successor.
    pub(crate) due: i64,
    /// They end before a time, and have no successor.
    pub(crate) ending: i64,
}

impl Store {
    /// Tenants with keys that were made before `before` and are not due yet.
    pub(crate) async fn tenants_with_old_keys(
        &self,
        before: SystemTime,
        now: SystemTime,
    ) -> Result<Vec<TenantId>, DbError> {
        let sql = format!("SELECT DISTINCT tenant_id FROM api_keys WHERE {YOUNG_ENOUGH}");
        let rows = self.all_tenants().query(&sql, &[&before, &now]).await?;
        rows.iter().map(|row| Ok(TenantId::new(row.try_get(0)?))).collect()
    }

    /// Tells the holders of a tenant's keys that were made before `before` to take a successor; returns the number of keys.
    pub(crate) async fn make_due(
        &self,
        tenant: TenantId,
        before: SystemTime,
        now: SystemTime,
    ) -> Result<usize, DbError> {
        let change = Change::begin(self.tenant(tenant)).await?;
        let sql = format!(
            "UPDATE api_keys SET rotation_due_at = $2
             WHERE id IN (SELECT id FROM api_keys WHERE {YOUNG_ENOUGH} ORDER BY created_at LIMIT $3)
             RETURNING id, name"
        );
        let rows = change.query(&sql, &[&before, &now, &TOGETHER]).await?;
        for row in &rows {
            let (id, name): (String, String) = (row.try_get("id")?, row.try_get("name")?);
            change.touch(Section::Keys, Some(tenant), &[&id]).await?;
            let (action, details) = ("key.rotation_due", json!({"name": name}));
            change.record_own(&OwnRecord { tenant, at: now, action, subject: &id, details }).await?;
        }
        if !rows.is_empty() {
            change.commit().await?;
        }
        Ok(rows.len())
    }

    /// Keys whose successors have been used and work, and which go on as if they had none.
    pub(crate) async fn delivered(&self, now: SystemTime) -> Result<Vec<(TenantId, String)>, DbError> {
        let sql = "SELECT k.tenant_id, k.id FROM api_keys k JOIN api_keys s ON s.id = k.handover_id
             WHERE s.last_used_at IS NOT NULL AND k.revoked_at IS NULL
                 AND s.revoked_at IS NULL AND (s.expires_at IS NULL OR s.expires_at > $1)";
        let rows = self.all_tenants().query(sql, &[&now]).await?;
        rows.iter().map(|row| Ok((TenantId::new(row.try_get(0)?), row.try_get(1)?))).collect()
    }

    /// Keys that are due, and those that end before `soon`.
    pub(crate) async fn waiting_keys(&self, now: SystemTime, soon: SystemTime) -> Result<Waiting, DbError> {
        let sql = "SELECT count(*) FILTER (WHERE rotation_due_at IS NOT NULL), count(*) FILTER (WHERE expires_at <= $2)
             FROM api_keys
             WHERE successor_id IS NULL AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)";
        let row = self.all_tenants().query_one(sql, &[&now, &soon]).await?;
        Ok(Waiting { due: row.try_get(0)?, ending: row.try_get(1)? })
    }
}

/// How far the rotation of the key of `row` is.
pub(super) async fn of(change: &Change, row: &Row) -> Result<Handover, DbError> {
    let due_at = row.try_get("rotation_due_at")?;
    let (id, at): (Option<String>, Option<SystemTime>) =
        (row.try_get("handover_id")?, row.try_get("handed_over_at")?);
    let (Some(id), Some(at)) = (id, at) else { return Ok(Handover { due_at, given: None }) };
    let sql = "SELECT last_used_at IS NOT NULL AS used, revoked_at IS NOT NULL AS revoked, expires_at FROM api_keys WHERE id = $1";
    let found = change.query_one(sql, &[&id]).await?;
    let (used, revoked) = (found.try_get("used")?, found.try_get("revoked")?);
    let given = Given { id, at, used, revoked, expires_at: found.try_get("expires_at")? };
    Ok(Handover { due_at, given: Some(given) })
}

impl KeyChange {
    /// Makes `secret` the key's successor to be, with the same name, scopes, agent and end, in place of one that was given out before.
    pub(crate) async fn hand_over(
        self,
        secret: &ApiKey,
        author: Author<'_>,
    ) -> Result<Changed<(Key, Key)>, DbError> {
        let withdrawn = self.withdraw_given(author).await?.map(str::to_owned);
        let successor = self.insert_successor(secret, self.state.expires_at, author).await?;
        let Self { change, key, .. } = self;
        let id = successor.id.as_str();
        let give = format!(
            "UPDATE api_keys SET handover_id = $2, handed_over_at = $3 WHERE id = $1 RETURNING {COLUMNS}"
        );
        let key = key_of(&change.query_one(&give, &[&key.id, &id, &author.at]).await?)?;
        let details = json!({"name": key.name, "successor_id": id, "instead_of": withdrawn});
        change.record(&author.did("key.hand_over", &key.id, details)).await?;
        Ok(Changed { made: (successor, key), version: change.commit().await? })
    }

    /// Withdraws a successor that was given out and not used; its id.
    pub(super) async fn withdraw_given(&self, author: Author<'_>) -> Result<Option<&str>, DbError> {
        let open = |given: &&Given| !given.used && given.is_alive(author.at);
        let Some(given) = self.handover.given.as_ref().filter(open) else { return Ok(None) };
        let sql = "UPDATE api_keys SET revoked_at = $2 WHERE id = $1";
        self.change.execute(sql, &[&given.id, &author.at]).await?;
        self.change.touch(Section::Keys, Some(author.tenant), &[&given.id]).await?;
        let details = json!({"name": self.key.name});
        self.change.record(&author.did("key.revoke", &given.id, details)).await?;
        Ok(Some(&given.id))
    }

    /// If the successor has been used and works, the key ends after `overlap`. Answers whether it does.
    pub(crate) async fn complete(
        self,
        tenant: TenantId,
        overlap: Duration,
        now: SystemTime,
    ) -> Result<bool, DbError> {
        if self.state.revoked || self.handover.delivered(now).is_none() {
            return Ok(false);
        }
        let sql = format!(
            "UPDATE api_keys SET successor_id = handover_id, overlap_ends_at = $2, expires_at = least(expires_at, $2),
                 own_expires_at = expires_at, handover_id = NULL, handed_over_at = NULL, rotation_due_at = NULL
             WHERE id = $1 RETURNING {COLUMNS}"
        );
        let row = self.change.query_one(&sql, &[&self.key.id, &(now + overlap)]).await?;
        let key = key_of(&row)?;
        self.change.touch(Section::Keys, Some(tenant), &[&key.id]).await?;
        let end: Option<SystemTime> = row.try_get("expires_at")?;
        let details =
            json!({"name": key.name, "successor_id": key.successor_id, "works_until": written(end)});
        let action = "key.rotate";
        self.change.record_own(&OwnRecord { tenant, at: now, action, subject: &key.id, details }).await?;
        self.change.commit().await.map(|_| true)
    }
}
