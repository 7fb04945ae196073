//! Idempotency keys of a put: each is claimed before its row is stored, in the same transaction.
//!
//! A claim locks the key's entry whether it is new or not, so a concurrent call under the same key waits here and then sees what the
//! first one did. Claims are made in the order of their keys and before any row is stored, so calls cannot wait in a circle.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::SystemTime,
};

use embermesh_postgres::{DbError, Transaction, types::ToSql};
use embermesh_types::EmbeddingId;

use super::{Owner, put::Kept};
use crate::domain::row::{NewRow, Request};

/// Where a row stands after the claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// To be stored, or found by its content: no idempotency key, or one that was free.
    New,
    /// The key made this row before.
    Replay(EmbeddingId),
    /// The same key and body as an earlier row of this call.
    As(usize),
    /// The key belongs to another body.
    Conflict,
}

pub(super) struct Claims {
    standings: Vec<Standing>,
    /// The rows whose entries this call holds, and the id in each; none where it is still that of a row which is gone.
    ours: Vec<(usize, Option<EmbeddingId>)>,
}

/// What a key that was there already stands for.
struct Entry {
    agent: String,
    hash: Vec<u8>,
    id: EmbeddingId,
    /// Whether the row is still there; without it the entry means nothing.
    alive: bool,
}

impl Claims {
    pub(super) async fn make(
        transaction: &Transaction,
        owner: Owner,
        rows: &[NewRow],
        ids: &[EmbeddingId],
        moment: SystemTime,
        expiry: SystemTime,
    ) -> Result<Self, DbError> {
        let mut firsts: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, request) in requests(rows) {
            firsts.entry(request.id.as_str()).or_insert(at);
        }
        let claimed = claim(transaction, owner, rows, &firsts, ids, moment, expiry).await?;
        let others: Vec<&str> = firsts.keys().copied().filter(|id| !claimed.contains(*id)).collect();
        let entries = entries(transaction, owner, &others).await?;

        let mut claims = Self { standings: vec![Standing::New; rows.len()], ours: Vec::new() };
        for (at, request) in requests(rows) {
            let first = firsts[request.id.as_str()];
            claims.standings[at] = if first != at {
                let same = is_same(&rows[first], &rows[at]);
                if same { Standing::As(first) } else { Standing::Conflict }
            } else if let Some(entry) = entries.get(request.id.as_str()) {
                if !entry.alive {
                    claims.ours.push((at, None));
                    Standing::New
                } else if entry.hash == request.hash && entry.agent == rows[at].agent_id.as_str() {
                    Standing::Replay(entry.id)
                } else {
                    Standing::Conflict
                }
            } else {
                claims.ours.push((at, Some(ids[at])));
                Standing::New
            };
        }
        Ok(claims)
    }

    pub(super) fn standing(&self, row: usize) -> Standing {
        self.standings[row]
    }

    /// Corrects the entries of rows that were found under another id than they were claimed with.
    pub(super) async fn settle(
        &self,
        transaction: &Transaction,
        owner: Owner,
        rows: &[NewRow],
        final_id: impl Fn(usize) -> Option<EmbeddingId>,
        moment: SystemTime,
    ) -> Result<(), DbError> {
        let (mut ids, mut agents, mut hashes, mut embeddings) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (at, held) in &self.ours {
            let (row, Some(id)) = (&rows[*at], final_id(*at)) else { continue };
            if let Some(request) = row.request.as_ref().filter(|_| *held != Some(id)) {
                ids.push(request.id.as_str());
                agents.push(row.agent_id.as_str());
                hashes.push(request.hash.as_slice());
                embeddings.push(id.uuid());
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE requests r
            SET agent_id = u.agent_id, request_hash = u.request_hash, embedding_id = u.embedding_id, created_at = $3
            FROM unnest($4::text[], $5::text[], $6::bytea[], $7::uuid[])
                AS u(request_id, agent_id, request_hash, embedding_id)
            WHERE r.tenant_id = $1 AND r.shard_key = $2 AND r.request_id = u.request_id";
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&owner.tenant, &owner.shard, &moment, &ids, &agents, &hashes, &embeddings];
        transaction.execute(sql, &parameters).await.map(drop)
    }

    /// What a row is told, given what became of the stored ones.
    pub(super) fn answer(&self, row: usize, kept: &[Kept]) -> Kept {
        match self.standings[row] {
            Standing::New => kept[row],
            Standing::Replay(id) => Kept::Known(id),
            Standing::Conflict => Kept::Conflict,
            Standing::As(first) => match self.answer(first, kept) {
                Kept::Stored(id) => Kept::Known(id),
                other => other,
            },
        }
    }
}

fn requests(rows: &[NewRow]) -> impl Iterator<Item = (usize, &Request)> {
    rows.iter().enumerate().filter_map(|(at, row)| Some((at, row.request.as_ref()?)))
}

fn is_same(one: &NewRow, other: &NewRow) -> bool {
    one.request == other.request && one.agent_id == other.agent_id
}

/// Enters the keys that are free or too old; returns them.
async fn claim(
    transaction: &Transaction,
    owner: Owner,
    rows: &[NewRow],
    firsts: &BTreeMap<&str, usize>,
    ids: &[EmbeddingId],
    moment: SystemTime,
    expiry: SystemTime,
) -> Result<HashSet<String>, DbError> {
    let sql = "INSERT INTO requests AS r (tenant_id, shard_key, request_id, agent_id, request_hash, embedding_id, created_at)
        SELECT $1, $2, u.request_id, u.agent_id, u.request_hash, u.embedding_id, $3
        FROM unnest($4::text[], $5::text[], $6::bytea[], $7::uuid[]) AS u(request_id, agent_id, request_hash, embedding_id)
        ON CONFLICT (tenant_id, shard_key, request_id) DO UPDATE
        SET agent_id = excluded.agent_id, request_hash = excluded.request_hash,
            embedding_id = excluded.embedding_id, created_at = excluded.created_at
        WHERE r.created_at <= $8
        RETURNING request_id";
    let names: Vec<&str> = firsts.keys().copied().collect();
    let agents: Vec<&str> = firsts.values().map(|at| rows[*at].agent_id.as_str()).collect();
    let hashes: Vec<&[u8]> = firsts
        .values()
        .map(|at| rows[*at].request.as_ref().map_or(&[][..], |request| request.hash.as_slice()))
        .collect();
    let embeddings: Vec<_> = firsts.values().map(|at| ids[*at].uuid()).collect();
    let parameters: [&(dyn ToSql + Sync); 8] =
        [&owner.tenant, &owner.shard, &moment, &names, &agents, &hashes, &embeddings, &expiry];
    let claimed = transaction.query(sql, &parameters).await?;
    claimed.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// What the keys that were taken stand for. They are locked, so this does not change until the transaction ends.
async fn entries(
    transaction: &Transaction,
    owner: Owner,
    ids: &[&str],
) -> Result<HashMap<String, Entry>, DbError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT r.request_id, r.agent_id, r.request_hash, r.embedding_id, k.embedding_id IS NOT NULL
        FROM requests r LEFT JOIN embedding_keys k USING (tenant_id, shard_key, embedding_id)
        WHERE r.tenant_id = $1 AND r.shard_key = $2 AND r.request_id = ANY($3)";
    let rows = transaction.query(sql, &[&owner.tenant, &owner.shard, &ids]).await?;
    rows.iter()
        .map(|row| {
            let (agent, hash, alive) = (row.try_get(1)?, row.try_get(2)?, row.try_get(4)?);
            Ok((row.try_get(0)?, Entry { agent, hash, id: EmbeddingId::new(row.try_get(3)?), alive }))
        })
        .collect()
}
