//! The audit chain: read by page, and as a whole at one instant. Written by [`Change`](super::change::Change) alone.

use std::time::SystemTime;

use embermesh_postgres::{DbError, Row, Transaction};
use embermesh_proto::v1::AuditRecord as Record;
use embermesh_types::TenantId;
use uuid::Uuid;

use super::{Store, timestamp};
use crate::domain::{
    anchor::Anchor,
    audit_record::{AuditRecord, Hash, hex, micros, time_of},
    chain::Stored,
    page::Page,
};

/// Names the list in page tokens.
pub(crate) const LIST: &str = "audit";

/// Records that are read together when a chain is verified.
pub(crate) const BATCH: i64 = 5_000;
/// Anchors beyond the end of a chain that are read: more than can be told of.
const BEYOND: i64 = 200;

const COLUMNS: &str =
    "tenant_id, number, changed_at, changed_by, action, subject, details::text, form, previous_hash, hash";

/// Which records are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) from: Option<SystemTime>,
    /// Not part of it.
    pub(crate) to: Option<SystemTime>,
    pub(crate) action: Option<String>,
    pub(crate) subject: Option<String>,
}

impl Store {
    /// A page, newest first, and the token of the next one.
    pub(crate) async fn audit_records(
        &self,
        tenant: TenantId,
        filter: &Filter,
        page: &Page<1>,
    ) -> Result<(Vec<Record>, Option<String>), DbError> {
        // what is no number is no token of ours; it begins nowhere
        let before = page.after.as_ref().map(|[number]| number.parse::<i64>().unwrap_or(0));
        let sql = format!(
            "SELECT {COLUMNS} FROM audit_records
             WHERE number < coalesce($1, 9223372036854775807)
                 AND ($2::timestamptz IS NULL OR changed_at >= $2) AND ($3::timestamptz IS NULL OR changed_at < $3)
                 AND ($4::text IS NULL OR action = $4) AND ($5::text IS NULL OR subject = $5)
             ORDER BY number DESC LIMIT $6"
        );
        let Filter { from, to, action, subject } = filter;
        let rows =
            self.tenant(tenant).query(&sql, &[&before, from, to, action, subject, &page.limit()]).await?;
        let mut records = rows.iter().map(record_of).collect::<Result<Vec<_>, _>>()?;
        let next = page.cut(LIST, &mut records, |record| [record.number.to_string()]);
        Ok((records, next))
    }

    /// The chain of `tenant` and its anchors at one instant, `batch` records at a time.
    pub(crate) async fn read_chain(&self, tenant: TenantId, batch: i64) -> Result<Reading, DbError> {
        let session = self.tenant(tenant).with("transaction_isolation", "repeatable read");
        Ok(Reading { transaction: session.begin().await?, after: i64::MIN, batch })
    }
}

/// A chain that is being read.
pub(crate) struct Reading {
    transaction: Transaction,
    /// Number of the record that was read last.
    after: i64,
    batch: i64,
}

impl Reading {
    /// The next records and the anchors up to the last of them; `None` after the last ones.
    pub(crate) async fn next(&mut self) -> Result<Option<(Vec<Stored>, Vec<Anchor>)>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM audit_records WHERE number > $1 ORDER BY number LIMIT $2");
        let rows = self.transaction.query(&sql, &[&self.after, &self.batch]).await?;
        let records = rows.iter().map(stored_of).collect::<Result<Vec<_>, _>>()?;
        let Some(last) = records.last().map(|stored| stored.record.number) else { return Ok(None) };
        let anchors = self.anchors(self.after, last, i64::MAX).await?;
        self.after = last;
        Ok(Some((records, anchors)))
    }

    /// The first anchors of what lies beyond what was read.
    pub(crate) async fn beyond(self) -> Result<Vec<Anchor>, DbError> {
        let anchors = self.anchors(self.after, i64::MAX, BEYOND).await?;
        self.transaction.rollback().await?;
        Ok(anchors)
    }

    async fn anchors(&self, after: i64, upto: i64, limit: i64) -> Result<Vec<Anchor>, DbError> {
        let sql = "SELECT tenant_id, number, hash, anchored_at, public_key, signature FROM audit_anchors
                   WHERE number > $1 AND number <= $2 ORDER BY number LIMIT $3";
        let rows = self.transaction.query(sql, &[&after, &upto, &limit]).await?;
        rows.iter().map(anchor_of).collect()
    }
}

/// Number and hash of the last record.
pub(super) async fn last(
    transaction: &Transaction,
    tenant: TenantId,
) -> Result<Option<(i64, Hash)>, DbError> {
    let sql = "SELECT number, hash FROM audit_records WHERE tenant_id = $1 ORDER BY number DESC LIMIT 1";
    let Some(row) = transaction.query_opt(sql, &[&tenant.uuid()]).await? else { return Ok(None) };
    let hash = bytes(&row, "hash")?
        .ok_or_else(|| DbError::Protocol("the end of the audit chain is broken, verify it".to_owned()))?;
    Ok(Some((row.try_get("number")?, hash)))
}

/// Adds the next record.
pub(super) async fn insert(transaction: &Transaction, stored: &Stored) -> Result<(), DbError> {
    let sql = "INSERT INTO audit_records (tenant_id, number, changed_at, changed_by, action, subject, details, form,
                   previous_hash, hash)
               VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8, $9, $10)";
    let Stored { record, form, previous, hash } = stored;
    let AuditRecord { tenant, number, at_micros, by, action, subject, details } = record;
    let (tenant, at) = (tenant.uuid(), time_of(*at_micros));
    let [previous, hash] = [previous, hash].map(|hash| hash.map(Vec::from));
    let parameters: [&(dyn embermesh_postgres::types::ToSql + Sync); 10] =
        [&tenant, number, &at, by, action, subject, details, form, &previous, &hash];
    transaction.execute(sql, &parameters).await.map(drop)
}

fn stored_of(row: &Row) -> Result<Stored, DbError> {
    let record = AuditRecord {
        tenant: TenantId::new(row.try_get("tenant_id")?),
        number: row.try_get("number")?,
        at_micros: micros(row.try_get("changed_at")?),
        by: row.try_get("changed_by")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        details: row.try_get("details")?,
    };
    let (previous, hash) = (bytes(row, "previous_hash")?, bytes(row, "hash")?);
    Ok(Stored { record, form: row.try_get("form")?, previous, hash })
}

fn record_of(row: &Row) -> Result<Record, DbError> {
    Ok(Record {
        number: row.try_get("number")?,
        changed_at: timestamp(row.try_get("changed_at")?),
        changed_by: row.try_get("changed_by")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        details: row.try_get("details")?,
        hash: hex(row.try_get("hash")?),
    })
}

fn anchor_of(row: &Row) -> Result<Anchor, DbError> {
    Ok(Anchor {
        tenant: TenantId::new(row.try_get::<_, Uuid>("tenant_id")?),
        number: row.try_get("number")?,
        // what is no hash, no key or no signature is no good one either
        hash: bytes(row, "hash")?.unwrap_or_default(),
        at_micros: micros(row.try_get("anchored_at")?),
        public_key: bytes(row, "public_key")?.unwrap_or_default(),
        signature: bytes(row, "signature")?.unwrap_or([0; 64]),
    })
}

/// A column of exactly so many bytes; `None` when it has others.
pub(super) fn bytes<const N: usize>(row: &Row, column: &str) -> Result<Option<[u8; N]>, DbError> {
    let bytes: &[u8] = row.try_get(column)?;
    Ok(bytes.try_into().ok())
}
