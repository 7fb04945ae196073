//! Whether a restored database holds what it should: by itself, and beside the one that it was made from. Past row-level security, for an
//! operator.

use std::{
    num::NonZeroUsize,
    time::{Duration, SystemTime},
};

use embermesh_postgres::{Database, DbError, PoolConfig, Role, Schema};
use secrecy::SecretString;
use uuid::Uuid;

/// Rows that each question is answered with.
const NEAREST: usize = 10;
/// And how many more are looked at, because some of the restored ones may have been deleted since.
const SPARE: usize = 40;

/// What is in the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// Rows of all spaces.
    pub rows: i64,
    /// Keys, of which each row has one.
    pub keys: i64,
    /// Keys without a row, and rows without a key.
    pub astray: i64,
}

/// Questions that two databases were asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compared {
    /// How many.
    pub asked: usize,
    /// The stored text's ids whose neighbours differ.
    pub different: Vec<Uuid>,
}

/// Counts rows and keys, and sees that they agree.
///
/// # Errors
/// As any query.
pub async fn contents(url: &SecretString) -> Result<Contents, DbError> {
    let sql = "WITH rows AS MATERIALIZED (SELECT tenant_id, embedding_id FROM embeddings)
        SELECT (SELECT count(*) FROM rows), (SELECT count(*) FROM embedding_keys),
            (SELECT count(*) FROM rows r FULL JOIN embedding_keys k USING (tenant_id, embedding_id)
             WHERE r.embedding_id IS NULL OR k.embedding_id IS NULL)";
    let row = open(url).await?.system().query_one(sql, &[]).await?;
    Ok(Contents { rows: row.try_get(0)?, keys: row.try_get(1)?, astray: row.try_get(2)? })
}

/// Asks both databases for the neighbours of at most `count` stored vectors, chosen at random, among what was stored before `until`; each
/// goes by its own vectors and reads all of them.
///
/// # Errors
/// As any query.
pub async fn same_answers(
    restored: &SecretString,
    source: &SecretString,
    count: i64,
    until: SystemTime,
) -> Result<Compared, DbError> {
    let (restored, source) = (open(restored).await?, open(source).await?);
    let chosen = "SELECT tenant_id, embedding_id, space_id FROM embeddings WHERE created_at < $1 ORDER BY random() LIMIT $2";
    let mut compared = Compared::default();
    for row in restored.system().query(chosen, &[&until, &count]).await? {
        let (tenant, id, space): (Uuid, Uuid, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let there = "SELECT embedding_id FROM embeddings WHERE tenant_id = $1 AND space_id = $2 AND embedding_id = ANY ($3)";
        let here = nearest(&restored, tenant, id, &space, until).await?;
        let mut known = Vec::new();
        for row in source.system().query(there, &[&tenant, &space, &here]).await? {
            known.push(row.try_get::<_, Uuid>(0)?);
        }
        if !known.contains(&id) {
            // deleted since: there is nothing to ask with
            continue;
        }
        compared.asked += 1;
        let left = here.into_iter().filter(|id| known.contains(id)).take(NEAREST);
        let expected = nearest(&source, tenant, id, &space, until).await?;
        if !left.eq(expected.into_iter().take(NEAREST)) {
            compared.different.push(id);
        }
    }
    Ok(compared)
}

async fn nearest(
    database: &Database,
    tenant: Uuid,
    id: Uuid,
    space: &str,
    until: SystemTime,
) -> Result<Vec<Uuid>, DbError> {
    let sql = "WITH question AS MATERIALIZED (
            SELECT embedding FROM embeddings WHERE tenant_id = $1 AND space_id = $3 AND embedding_id = $2)
        SELECT e.embedding_id FROM embeddings e, question q
        WHERE e.tenant_id = $1 AND e.space_id = $3 AND e.created_at < $4
        ORDER BY e.embedding <=> q.embedding, e.embedding_id LIMIT $5";
    let most = i64::try_from(NEAREST + SPARE).unwrap_or(i64::MAX);
    let rows = database.system().query(sql, &[&tenant, &id, &space, &until, &most]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn open(url: &SecretString) -> Result<Database, DbError> {
    let limits = PoolConfig {
        statement_timeout: Duration::ZERO,
        max_open_conns: NonZeroUsize::MIN,
        ..PoolConfig::default()
    };
    Database::connect(url, Schema::Store, Role::Operator, &limits).await
}
