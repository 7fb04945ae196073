//! Keeping rows, each exactly once.
//!
//! One statement enters the keys and, for those that were not there, the rows; a concurrent call with an equal row waits at the
//! unique key until this one has committed, then finds its id.
//!
//! A row that is found instead of stored keeps its place: it stays in the partition of the month in which it was first put, and goes
//! when that month goes or its tenant keeps it no longer. A younger row would have another id, which whoever holds the first one does not
//! know.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use embermesh_errors::Error;
use embermesh_postgres::{DbError, Session, WriteMark, types::ToSql};
use embermesh_types::{EmbeddingId, SpaceId, TenantId, WriteToken};

use super::{Owner, Store, spaces::Space, vector_column::Outgoing};
use crate::{
    domain::{dedup, id, row::NewRow, vector},
    error::of_database,
};

/// A lost conflict or connection: everything is repeated, which is safe because equal rows are one row.
const ATTEMPTS: u32 = 4;
/// A row that is neither entered nor found was deleted in between.
const ROUNDS: u32 = 4;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is new.
    Stored(EmbeddingId),
    /// It was there.
    Known(EmbeddingId),
}

/// Equal rows of one call.
#[derive(Clone, Copy)]
struct Group {
    hash: Hash,
    /// The row that stands for all.
    row: usize,
    /// Its id, should it be new.
    id: EmbeddingId,
}

type Hash = [u8; 32];

/// The id of every group that was entered or found, and for new ones the row that was stored.
type KeptGroups = HashMap<Hash, (EmbeddingId, Option<usize>)>;

impl Store {
    /// Keeps rows in one space, all or none; the answers are in the order of the rows. The token stands for all of them, found ones
    /// too.
    pub(crate) async fn put(
        &self,
        tenant: TenantId,
        space: &SpaceId,
        rows: &[NewRow],
    ) -> Result<(Vec<Kept>, WriteToken), Error> {
        let _timer = self.metrics.query("put");
        let space = self.space_or_create(space).await.map_err(of_database)?;
        for (at, row) in rows.iter().enumerate() {
            vector::fits(&row.vector, space.element).map_err(|error| {
                Error::invalid(format!("rows[{at}].vector"), format!("rows[{at}]: {error}"))
            })?;
        }
        let hashes: Vec<Hash> = rows.iter().map(dedup::hash).collect();
        let mark = WriteMark::default();
        let mut attempt = 1;
        loop {
            match self.put_once(Owner::of(tenant), &space, rows, &hashes, &mark).await {
                Err(DbError::Conflict(_) | DbError::StalePlan | DbError::Unavailable(_))
                    if attempt < ATTEMPTS =>
                {
                    tracing::debug!(attempt, "repeating a put");
                    attempt += 1;
                }
                outcome => {
                    self.spaces_of.stored(Owner::of(tenant), &space);
                    return outcome.map(|kept| (kept, mark.token())).map_err(of_database);
                }
            }
        }
    }

    async fn put_once(
        &self,
        owner: Owner,
        space: &Space,
        rows: &[NewRow],
        hashes: &[Hash],
        mark: &WriteMark,
    ) -> Result<Vec<Kept>, DbError> {
        let millis = self.clock.unix_millis();
        let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        self.cover(space, moment).await?;
        let batch = Batch {
            owner,
            space,
            rows,
            moment,
            session: self.session(owner).marked(mark),
            words: &self.words.columns_of_new,
        };
        let ids: Vec<EmbeddingId> = (0..rows.len()).map(|at| id::mint(millis, at)).collect();
        let kept = batch.keep(&group(hashes, &ids)).await?;
        answers(hashes, &kept)
    }
}

/// Equal rows together, in the order of their hashes: every call enters its keys in the same order, so that none waits for one
/// that waits for it.
fn group(hashes: &[Hash], ids: &[EmbeddingId]) -> Vec<Group> {
    let mut groups: HashMap<Hash, Group> = HashMap::with_capacity(hashes.len());
    for (row, hash) in hashes.iter().enumerate() {
        groups.entry(*hash).or_insert(Group { hash: *hash, row, id: ids[row] });
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| group.hash);
    groups
}

/// What each row is told, the first of equal new ones that it is new.
fn answers(hashes: &[Hash], kept: &KeptGroups) -> Result<Vec<Kept>, DbError> {
    let answer = |(at, hash): (usize, &Hash)| match kept.get(hash) {
        Some((id, Some(first))) if *first == at => Ok(Kept::Stored(*id)),
        Some((id, _)) => Ok(Kept::Known(*id)),
        None => Err(DbError::RowCount(0)),
    };
    hashes.iter().enumerate().map(answer).collect()
}

struct Batch<'a> {
    owner: Owner,
    space: &'a Space,
    rows: &'a [NewRow],
    moment: SystemTime,
    session: Session<'a>,
    /// What is stored as the words of a text, as SQL.
    words: &'a str,
}

impl Batch<'_> {
    /// Enters the groups.
    async fn keep(&self, groups: &[Group]) -> Result<KeptGroups, DbError> {
        let mut kept = HashMap::with_capacity(groups.len());
        let mut open = groups.to_vec();
        for _ in 0..ROUNDS {
            if open.is_empty() {
                return Ok(kept);
            }
            let entered = self.enter(&open).await?;
            open.retain(|group| {
                let new = entered.contains(&group.id);
                if new {
                    kept.insert(group.hash, (group.id, Some(group.row)));
                }
                !new
            });
            if open.is_empty() {
                return Ok(kept);
            }
            for (hash, id) in self.find(&open).await? {
                kept.insert(hash, (id, None));
            }
            open.retain(|group| !kept.contains_key(&group.hash));
        }
        Err(DbError::Conflict("rows are put and deleted at the same time".to_owned()))
    }

    /// One statement for keys and rows; returns the ids that are new.
    async fn enter(&self, groups: &[Group]) -> Result<Vec<EmbeddingId>, DbError> {
        let Self { owner, space, moment, .. } = self;
        let sql = format!(
            "WITH input AS (
                SELECT * FROM unnest($4::uuid[], $5::bytea[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
                    $11::text[], $12::text[], $13::text[], $14::text[], $15::bigint[], $16::bigint[], $17::{element}[])
                AS input(embedding_id, dedup_hash, agent_id, context_id, metadata, model, provider,
                    input_type, task_type, pii_policy_version, content, tokens, cost_nano_usd, embedding)
            ), won AS (
                INSERT INTO embedding_keys (tenant_id, shard_key, embedding_id, space_no, created_at, dedup_hash)
                SELECT $1, $2, embedding_id, {no}, $3, dedup_hash FROM input
                ON CONFLICT (tenant_id, shard_key, space_no, dedup_hash) DO NOTHING
                RETURNING embedding_id
            ), stored AS (
                INSERT INTO {table} (tenant_id, shard_key, created_at, embedding_id, agent_id, context_id, metadata,
                    model, provider, input_type, task_type, pii_policy_version, content, tokens, cost_nano_usd, embedding,
                    text_language, lexemes)
                SELECT $1, $2, $3, embedding_id, agent_id, context_id, metadata::json,
                    model, provider, input_type, task_type, pii_policy_version, content, tokens, cost_nano_usd, embedding, {words}
                FROM input JOIN won USING (embedding_id)
            )
            SELECT embedding_id FROM won",
            element = space.element.sql_type(),
            no = space.no,
            table = space.table(),
            words = self.words,
        );
        let ids = column(groups, |group| group.id.uuid());
        let hashes = column(groups, |group| group.hash.as_slice());
        let (agents, contexts) = (
            self.texts(groups, |row| row.agent_id.as_str()),
            self.column(groups, |row| row.context_id.as_deref()),
        );
        let metadata = self.texts(groups, |row| &row.metadata.text);
        let (models, providers) =
            (self.texts(groups, |row| &row.model), self.texts(groups, |row| &row.provider));
        let (inputs, tasks) =
            (self.texts(groups, |row| &row.input_type), self.texts(groups, |row| &row.task_type));
        let policies = self.texts(groups, |row| &row.pii_policy_version);
        let contents = self.texts(groups, |row| &row.content);
        let (tokens, costs) =
            (self.column(groups, |row| row.tokens), self.column(groups, |row| row.cost_nano_usd));
        let vectors = self.column(groups, |row| Outgoing(&row.vector));
        let parameters: [&(dyn ToSql + Sync); 17] = [
            &owner.tenant,
            &owner.shard,
            moment,
            &ids,
            &hashes,
            &agents,
            &contexts,
            &metadata,
            &models,
            &providers,
            &inputs,
            &tasks,
            &policies,
            &contents,
            &tokens,
            &costs,
            &vectors,
        ];
        let rows = self.session.execute_returning(&sql, &parameters).await?;
        rows.iter().map(|row| Ok(EmbeddingId::new(row.try_get(0)?))).collect()
    }

    /// The ids under which rows are known. Has to be a statement of its own: that of [`Batch::enter`] began before the rows it
    /// waited for were committed, so it cannot see them.
    async fn find(&self, groups: &[Group]) -> Result<Vec<(Hash, EmbeddingId)>, DbError> {
        let sql = "SELECT dedup_hash, embedding_id FROM embedding_keys
            WHERE tenant_id = $1 AND shard_key = $2 AND space_no = $3 AND dedup_hash = ANY($4)";
        let hashes = column(groups, |group| group.hash.as_slice());
        let rows = self
            .session
            .query(sql, &[&self.owner.tenant, &self.owner.shard, &self.space.no, &hashes])
            .await?;
        rows.iter()
            .map(|row| {
                let hash: &[u8] = row.try_get(0)?;
                let hash =
                    Hash::try_from(hash).map_err(|_| DbError::Protocol("a key is cut off".to_owned()))?;
                Ok((hash, EmbeddingId::new(row.try_get(1)?)))
            })
            .collect()
    }

    fn column<'s, T>(&'s self, groups: &[Group], value: impl Fn(&'s NewRow) -> T) -> Vec<T> {
        groups.iter().map(|group| value(&self.rows[group.row])).collect()
    }

    fn texts<'s>(&'s self, groups: &[Group], value: impl Fn(&'s NewRow) -> &'s str) -> Vec<&'s str> {
        self.column(groups, value)
    }
}

fn column<'g, T>(groups: &'g [Group], value: impl Fn(&'g Group) -> T) -> Vec<T> {
    groups.iter().map(value).collect()
}
