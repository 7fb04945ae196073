//! Where the chains of all tenants end, and what was signed of that.

use embermesh_postgres::DbError;
use embermesh_types::TenantId;
use uuid::Uuid;

use super::{Store, audit::bytes};
use crate::domain::{
    anchor::Anchor,
    audit_record::{Hash, time_of},
};

/// The last record of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) tenant: TenantId,
    pub(crate) number: i64,
    /// `None`: what stands there is no hash.
    pub(crate) hash: Option<Hash>,
}

impl Store {
    /// Where the chain of every tenant ends, and the system's own.
    pub(crate) async fn audit_ends(&self) -> Result<Vec<End>, DbError> {
        let sql = "SELECT chain.tenant_id, last.number, last.hash
                   FROM (SELECT tenant_id FROM tenants UNION SELECT $1::uuid) AS chain
                   CROSS JOIN LATERAL (
                       SELECT number, hash FROM audit_records WHERE tenant_id = chain.tenant_id
                       ORDER BY number DESC LIMIT 1
                   ) AS last";
        let rows = self.all_tenants().query(sql, &[&TenantId::SYSTEM.uuid()]).await?;
        let end = |row| {
            let row: &embermesh_postgres::Row = row;
            let tenant = TenantId::new(row.try_get::<_, Uuid>("tenant_id")?);
            Ok(End { tenant, number: row.try_get("number")?, hash: bytes(row, "hash")? })
        };
        rows.iter().map(end).collect()
    }

    /// The hash of a record; `None` when there is no such record.
    pub(crate) async fn audit_hash(&self, tenant: TenantId, number: i64) -> Result<Option<Hash>, DbError> {
        let sql = "SELECT hash FROM audit_records WHERE number = $1";
        let row = self.tenant(tenant).query_opt(sql, &[&number]).await?;
        Ok(row.map(|row| bytes(&row, "hash")).transpose()?.flatten())
    }

    /// Keeps an anchor; whether it is new.
    pub(crate) async fn keep_anchor(&self, anchor: &Anchor) -> Result<bool, DbError> {
        let sql = "INSERT INTO audit_anchors (tenant_id, number, hash, anchored_at, public_key, signature)
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        let Anchor { tenant, number, hash, at_micros, public_key, signature } = anchor;
        let (uuid, at) = (tenant.uuid(), time_of(*at_micros));
        let [hash, key, signature] = [&hash[..], &public_key[..], &signature[..]];
        let kept = self.tenant(*tenant).execute(sql, &[&uuid, number, &hash, &at, &key, &signature]).await?;
        Ok(kept > 0)
    }
}
