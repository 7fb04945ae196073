//! Keeping what a batch came to: copies, failures, costs and the cursor, all or nothing.
//!
//! A copy is made only while its row is there: it holds the row's key until it is committed, so that a deletion of the row waits, and
//! then finds the copy too.

use std::{collections::BTreeSet, time::SystemTime};

use embermesh_errors::{Code, Error};
use embermesh_postgres::{DbError, Transaction, types::ToSql};
use embermesh_proto::internal::v1::FailedRow;
use embermesh_types::EmbeddingId;
use uuid::Uuid;

use super::{Side, Work, taken};
use crate::{
    domain::{id, month::Month, vector},
    error::of_database,
    store::{Owner, Store, vector_column::Outgoing},
};

const ATTEMPTS: u32 = 4;

/// A row's new vector.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) id: EmbeddingId,
    pub(crate) provider: String,
    pub(crate) vector: Vec<f32>,
    pub(crate) tokens: i64,
    pub(crate) cost_nano_usd: i64,
    /// It stands for the beginning of the text.
    pub(crate) truncated: bool,
}

/// What a batch came to.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) back: bool,
    pub(crate) model: String,
    pub(crate) copies: Vec<Copy>,
    pub(crate) failures: Vec<FailedRow>,
    pub(crate) cost_nano_usd: i64,
    pub(crate) tokens: i64,
    pub(crate) cursor: Option<EmbeddingId>,
}

impl Store {
    /// Length of the vectors of the side that a migration writes.
    pub(crate) async fn migration_dimensions(&self, work: Work, back: bool) -> Result<u32, Error> {
        Ok(self.side(work, back).await.map_err(of_database)?.target.id.dimensions())
    }

    /// Keeps a batch; the state of the migration, and how many rows are new.
    pub(crate) async fn commit_batch(&self, work: Work, batch: &Batch) -> Result<(String, u64), Error> {
        let _timer = self.metrics.query("migration_commit");
        let mut attempt = 1;
        loop {
            match self.commit_once(work, batch).await {
                // nothing was kept, or all of it: whoever repeats finds the rows there
                Err(DbError::Conflict(_) | DbError::StalePlan) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome.map_err(of_database)?.ok_or_else(taken),
            }
        }
    }

    async fn commit_once(&self, work: Work, batch: &Batch) -> Result<Option<(String, u64)>, DbError> {
        let side = self.side(work, batch.back).await?;
        let (mut copies, mut failures) = (Vec::with_capacity(batch.copies.len()), batch.failures.clone());
        for copy in &batch.copies {
            match vector::fits(&copy.vector, side.target.element) {
                Ok(()) => copies.push(copy),
                Err(error) => failures.push(FailedRow {
                    embedding_id: copy.id.to_string(),
                    code: Code::Invalid.as_str().to_owned(),
                    message: format!("its new vector cannot be kept: {error}"),
                }),
            }
        }
        self.cover_months(&side, &copies).await?;
        let owner = Owner::of(work.tenant);
        let transaction = self.session(owner).begin().await?;
        // first, so that two workers never wait for one another's rows
        let mine = "SELECT state, in_flight FROM migrations
            WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3 AND worker = $4 FOR UPDATE";
        let parameters: [&(dyn ToSql + Sync); 4] = [&owner.tenant, &owner.shard, &work.id, &work.worker];
        let Some(row) = transaction.query_opt(mine, &parameters).await? else { return Ok(None) };
        let state: String = row.try_get(0)?;
        let copied = copy(&transaction, owner, work, &side, (&batch.model, &copies)).await?;
        let failed = note_failures(&transaction, owner, work, &failures, self.clock.now()).await?;
        // whatever is not begun was kept before, and only its answer was lost
        let is_first: bool = row.try_get(1)?;
        let (tokens, cost) = if is_first { (batch.tokens, batch.cost_nano_usd) } else { (0, 0) };
        let handled =
            i64::try_from(if is_first { copies.len() } else { 0 }).unwrap_or(i64::MAX).saturating_add(failed);
        // what moves back was never counted
        let (new, handled) =
            if batch.back { (0, 0) } else { (i64::try_from(copied).unwrap_or(i64::MAX), handled) };
        let advance = "UPDATE migrations m SET cursor_id = coalesce($4, cursor_id), rows_copied = rows_copied + $5,
                rows_failed = rows_failed + $6, rows_left = greatest(rows_left - $7::bigint, 0), tokens = tokens + $8,
                cost_nano_usd = cost_nano_usd + $9, in_flight = false, failing_since = NULL,
                reason = CASE WHEN state = 'paused' THEN reason END,
                message = CASE WHEN state = 'paused' THEN message END, claimed_until = now() + $10 * interval '1 second',
                rows_per_second = CASE WHEN $7 > 0 AND committed_at IS NOT NULL
                    THEN coalesce(rows_per_second, $7 / b.span) * exp(-b.span / 60) + $7 / b.span * (1 - exp(-b.span / 60))
                    ELSE rows_per_second END,
                committed_at = CASE WHEN $7 > 0 THEN now() ELSE committed_at END
            FROM (SELECT greatest(extract(epoch FROM now() - committed_at), 0.001)::double precision AS span
                FROM migrations WHERE tenant_id = $1 AND shard_key = $2 AND migration_id = $3) b
            WHERE m.tenant_id = $1 AND m.shard_key = $2 AND m.migration_id = $3";
        let cursor = batch.cursor.map(EmbeddingId::uuid);
        let parameters: [&(dyn ToSql + Sync); 10] = [
            &owner.tenant,
            &owner.shard,
            &work.id,
            &cursor,
            &new,
            &failed,
            &handled,
            &tokens,
            &cost,
            &work.lease.as_secs_f64(),
        ];
        transaction.execute(advance, &parameters).await?;
        transaction.commit().await?;
        Ok(Some((state, copied)))
    }

    /// Partitions for the months of the copies, which may be long past.
    async fn cover_months(&self, side: &Side, copies: &[&Copy]) -> Result<(), DbError> {
        let months: BTreeSet<Month> = copies.iter().map(|copy| Month::of(id::created_at(copy.id))).collect();
        for month in months {
            let sql = "SELECT covered_from FROM add_partitions($1, $2)";
            self.pools.owner.system().execute_returning(sql, &[&side.target.no, &month.begin()]).await?;
        }
        Ok(())
    }
}

async fn copy(
    transaction: &Transaction,
    owner: Owner,
    work: Work,
    side: &Side,
    (model, copies): (&str, &[&Copy]),
) -> Result<u64, DbError> {
    if copies.is_empty() {
        return Ok(0);
    }
    let Side { source, target, .. } = side;
    let sql = format!(
        "WITH input AS (
            SELECT * FROM unnest($4::uuid[], $5::timestamptz[], $6::text[], $7::bigint[], $8::bigint[], $9::{element}[], $11::bool[])
            AS input(embedding_id, created_at, provider, tokens, cost_nano_usd, embedding, truncated)
        ), held AS MATERIALIZED (
            SELECT embedding_id, dedup_hash FROM embedding_keys
            WHERE tenant_id = $1 AND shard_key = $2 AND space_no = {from} AND embedding_id = ANY($4)
            ORDER BY embedding_id FOR KEY SHARE
        ), source AS (
            SELECT v.created_at, v.embedding_id, v.agent_id, v.context_id, v.metadata, v.input_type, v.task_type,
                v.pii_policy_version, v.content, v.text_language, v.lexemes, h.dedup_hash
            FROM {read} v JOIN held h ON h.embedding_id = v.embedding_id
            WHERE v.tenant_id = $1 AND v.shard_key = $2 AND v.created_at = ANY($5) AND v.embedding_id = ANY($4)
        ), won AS (
            INSERT INTO embedding_keys
                (tenant_id, shard_key, embedding_id, space_no, created_at, dedup_hash, migration_id, truncated)
            SELECT $1, $2, s.embedding_id, {to}, s.created_at, s.dedup_hash, $3, i.truncated
            FROM source s JOIN input i USING (embedding_id) ORDER BY s.dedup_hash
            ON CONFLICT DO NOTHING
            RETURNING embedding_id
        ), stored AS (
            INSERT INTO {write} (tenant_id, shard_key, created_at, embedding_id, agent_id, context_id, metadata,
                model, provider, input_type, task_type, pii_policy_version, content, tokens, cost_nano_usd, embedding,
                text_language, lexemes)
            SELECT $1, $2, s.created_at, s.embedding_id, s.agent_id, s.context_id, s.metadata,
                $10, i.provider, s.input_type, s.task_type, s.pii_policy_version, s.content, i.tokens, i.cost_nano_usd,
                i.embedding, s.text_language, s.lexemes
            FROM source s JOIN won USING (embedding_id) JOIN input i USING (embedding_id)
        )
        SELECT count(*) FROM won",
        element = target.element.sql_type(),
        from = source.no,
        to = target.no,
        read = source.table(),
        write = target.table(),
    );
    let ids: Vec<Uuid> = copies.iter().map(|copy| copy.id.uuid()).collect();
    let times: Vec<SystemTime> = copies.iter().map(|copy| id::created_at(copy.id)).collect();
    let providers: Vec<&str> = copies.iter().map(|copy| copy.provider.as_str()).collect();
    let tokens: Vec<i64> = copies.iter().map(|copy| copy.tokens).collect();
    let costs: Vec<i64> = copies.iter().map(|copy| copy.cost_nano_usd).collect();
    let vectors: Vec<Outgoing<'_>> = copies.iter().map(|copy| Outgoing(&copy.vector)).collect();
    let truncated: Vec<bool> = copies.iter().map(|copy| copy.truncated).collect();
    let parameters: [&(dyn ToSql + Sync); 11] = [
        &owner.tenant,
        &owner.shard,
        &work.id,
        &ids,
        &times,
        &providers,
        &tokens,
        &costs,
        &vectors,
        &model,
        &truncated,
    ];
    Ok(transaction.query_one(&sql, &parameters).await?.try_get::<_, i64>(0)?.unsigned_abs())
}

async fn note_failures(
    transaction: &Transaction,
    owner: Owner,
    work: Work,
    failures: &[FailedRow],
    now: SystemTime,
) -> Result<i64, DbError> {
    if failures.is_empty() {
        return Ok(0);
    }
    let sql = "INSERT INTO migration_failures (tenant_id, shard_key, migration_id, embedding_id, code, message, failed_at)
        SELECT $1, $2, $3, u.id::uuid, u.code, u.message, $4
        FROM unnest($5::text[], $6::text[], $7::text[]) AS u(id, code, message) ON CONFLICT DO NOTHING";
    let ids: Vec<&str> = failures.iter().map(|row| row.embedding_id.as_str()).collect();
    let codes: Vec<&str> = failures.iter().map(|row| row.code.as_str()).collect();
    let messages: Vec<&str> = failures.iter().map(|row| row.message.as_str()).collect();
    let parameters: [&(dyn ToSql + Sync); 7] =
        [&owner.tenant, &owner.shard, &work.id, &now, &ids, &codes, &messages];
    let noted = transaction.execute(sql, &parameters).await?;
    Ok(i64::try_from(noted).unwrap_or(i64::MAX))
}
