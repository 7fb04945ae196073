//! Which rows a migration has still to copy.

use embermesh_errors::Error;
use embermesh_postgres::{DbError, types::ToSql};
use embermesh_proto::internal::v1::{ScanReply, ScannedRow};
use embermesh_types::EmbeddingId;
use uuid::Uuid;

use super::{Side, Work};
use crate::{
    domain::id,
    error::of_database,
    store::{Owner, Store},
};

/// Texts of one answer, in bytes.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Which part of a space is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// From the new space into the old one.
    pub(crate) back: bool,
    /// Rows after this one.
    pub(crate) after: Option<EmbeddingId>,
    /// Rows to look at.
    pub(crate) examine: u32,
    /// Rows to return.
    pub(crate) rows: u32,
}

impl Store {
    /// The next rows without an equal one on the other side. Ids sort as rows do.
    pub(crate) async fn scan_migration(&self, work: Work, window: Window) -> Result<ScanReply, Error> {
        let _timer = self.metrics.query("migration_scan");
        self.scan_once(work, window).await.map_err(of_database)
    }

    async fn scan_once(&self, work: Work, window: Window) -> Result<ScanReply, DbError> {
        let side = self.side(work, window.back).await?;
        let (owner, Side { source, target, agent }) = (Owner::of(work.tenant), &side);
        let (table, from, to) = (source.table(), source.no, target.no);
        // only what agents have written moves back, not what the migration has copied
        let native = if window.back { "AND a.migration_id IS NULL" } else { "" };
        let of_agent = if agent.is_empty() { "$3 = ''" } else { "agent_id = $3" };
        let examined = format!(
            "SELECT e.embedding_id, EXISTS (SELECT FROM embedding_keys a
                    WHERE a.tenant_id = $1 AND a.shard_key = $2 AND a.embedding_id = e.embedding_id AND a.space_no = {from} {native}
                        AND NOT EXISTS (SELECT FROM embedding_keys b WHERE b.tenant_id = $1 AND b.shard_key = $2
                            AND b.space_no = {to} AND b.dedup_hash = a.dedup_hash)
                        AND NOT EXISTS (SELECT FROM migration_failures f WHERE f.tenant_id = $1 AND f.shard_key = $2
                            AND f.migration_id = $6 AND f.embedding_id = e.embedding_id))
            FROM (SELECT embedding_id, created_at FROM {table}
                WHERE tenant_id = $1 AND shard_key = $2 AND {of_agent}
                    AND created_at >= $4 AND (created_at, embedding_id) > ($4, $5)
                ORDER BY created_at, embedding_id LIMIT $7) e
            ORDER BY e.created_at, e.embedding_id"
        );
        let after = window.after.unwrap_or(EmbeddingId::new(Uuid::nil()));
        let (time, limit) = (id::created_at(after), i64::from(window.examine));
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&owner.tenant, &owner.shard, agent, &time, &after.uuid(), &work.id, &limit];
        let rows = self.session(owner).query(&examined, &parameters).await?;
        let (mut position, mut missing) = (None, Vec::new());
        let mut looked = 0;
        for row in &rows {
            let id = EmbeddingId::new(row.try_get(0)?);
            position = Some(id);
            looked += 1;
            if row.try_get(1)? {
                missing.push(id);
                if missing.len() >= window.rows as usize {
                    break;
                }
            }
        }
        let mut at_end = looked == rows.len() && rows.len() < window.examine as usize;
        let mut scanned = if missing.is_empty() {
            Vec::new()
        } else {
            let times: Vec<_> = missing.iter().map(|id| id::created_at(*id)).collect();
            let ids: Vec<_> = missing.iter().map(|id| id.uuid()).collect();
            let sql = format!(
                "SELECT embedding_id, agent_id, task_type, input_type, content FROM {table}
                WHERE tenant_id = $1 AND shard_key = $2 AND created_at = ANY($3) AND embedding_id = ANY($4)
                ORDER BY created_at, embedding_id"
            );
            let rows = self.session(owner).query(&sql, &[&owner.tenant, &owner.shard, &times, &ids]).await?;
            let scanned = rows.iter().map(|row| {
                Ok::<_, DbError>(ScannedRow {
                    embedding_id: row.try_get::<_, Uuid>(0)?.to_string(),
                    agent_id: row.try_get(1)?,
                    task_type: row.try_get(2)?,
                    input_type: row.try_get(3)?,
                    content: row.try_get(4)?,
                })
            });
            scanned.collect::<Result<Vec<_>, _>>()?
        };
        let mut bytes = 0;
        let fitting = scanned.iter().take_while(|row| {
            bytes += row.content.len();
            bytes <= MOST_BYTES
        });
        let fitting = fitting.count().max(1);
        if fitting < scanned.len() {
            scanned.truncate(fitting);
            position = scanned.last().and_then(|row| row.embedding_id.parse().ok());
            at_end = false;
        }
        let position = position.map(|id| id.to_string()).unwrap_or_default();
        Ok(ScanReply { rows: scanned, position, at_end, standing: None })
    }
}
