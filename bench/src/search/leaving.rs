//! A month that leaves while others search and store.

use std::{
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::process::Command;
use tokio_postgres::{Client, NoTls};

use super::{SearchError, corpus::Corpus, served::Tenant};

/// Rows of the month that leaves.
pub const ROWS: usize = 50_000;
const CLIENTS: usize = 8;
/// How often PostgreSQL is asked who waits.
const SAMPLED: Duration = Duration::from_millis(20);

/// What others noticed.
#[derive(Clone, Debug, Default)]
pub struct Noticed {
    /// From the first search to the last.
    pub searches: usize,
    /// Calls that stored rows.
    pub stored: usize,
    /// Searches and calls that failed.
    pub failed: Vec<String>,
    /// The longest wait for a lock of anybody but the one that archives.
    pub longest_wait: Duration,
    /// How long archiving took.
    pub took: Duration,
}

/// Makes a month of the past out of rows that are there.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn make(url: &str) -> Result<(), SearchError> {
    let columns = "agent_id, context_id, metadata, model, provider, input_type, task_type, pii_policy_version, tokens, \
        cost_nano_usd, content, embedding";
    let statement = format!(
        "SET search_path = store, public;
        SELECT add_partitions(1, date_trunc('month', now()) - interval '2 months');
        WITH old AS (
            INSERT INTO space_1 (tenant_id, shard_key, created_at, embedding_id, {columns})
            SELECT tenant_id, shard_key, date_trunc('month', now()) - interval '40 days', gen_random_uuid(), {columns}
            FROM space_1 WHERE tenant_id = (SELECT tenant_id FROM space_1 GROUP BY tenant_id ORDER BY count(*) DESC LIMIT 1)
            LIMIT {ROWS}
            RETURNING tenant_id, shard_key, created_at, embedding_id
        )
        INSERT INTO embedding_keys (tenant_id, shard_key, embedding_id, space_no, created_at, dedup_hash)
        SELECT tenant_id, shard_key, embedding_id, 1, created_at, sha256(embedding_id::text::bytea) FROM old"
    );
    with(url, async |client| Ok(client.batch_execute(&statement).await?)).await
}

/// Archives all months before the current one with the service's own binary, under load.
///
/// # Errors
/// When archiving fails.
pub async fn watch(
    url: &str,
    binary: &Path,
    folder: &Path,
    (searcher, writer): (&Tenant, &Tenant),
    corpus: &Arc<Corpus>,
) -> Result<Noticed, SearchError> {
    let (over, searches) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (searcher, corpus) = (searcher.clone(), Arc::clone(corpus));
        let (over, searches) = (Arc::clone(&over), Arc::clone(&searches));
        clients.spawn(async move {
            let mut failed = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let turn = searches.fetch_add(1, Ordering::Relaxed);
                let query = &corpus.queries[(turn + client) % corpus.queries.len()];
                if let Err(error) = searcher.search(query, false).await {
                    failed.push(error.to_string());
                }
            }
            failed
        });
    }
    let stored = Arc::new(AtomicUsize::new(0));
    {
        let (writer, corpus, over, stored) =
            (writer.clone(), Arc::clone(corpus), Arc::clone(&over), Arc::clone(&stored));
        clients.spawn(async move {
            let mut failed = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let row = stored.fetch_add(1, Ordering::Relaxed) % corpus.texts.len();
                if let Err(error) = writer.put_batch(&corpus, &[row]).await {
                    failed.push(error.to_string());
                }
            }
            failed
        });
    }
    let mut watching = tokio::task::JoinSet::new();
    watching.spawn(longest_wait(url.to_owned(), Arc::clone(&over)));
    // some load before, and some after
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let month = with(url, async |client| {
        Ok(client.query_one("SELECT to_char(now(), 'YYYY-MM')", &[]).await?.get::<_, String>(0))
    })
    .await?;
    let output = Command::new(binary)
        .args(["archive", "--before", &month, "--into"])
        .arg(folder.join("archive"))
        .env("DATABASE_URL", url)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .await?;
    let took = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    over.store(true, Ordering::Relaxed);
    if !output.status.success() {
        return Err(format!("archiving failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let failed = clients.join_all().await.into_iter().flatten().collect();
    let (searches, stored) = (searches.load(Ordering::Relaxed), stored.load(Ordering::Relaxed));
    let longest_wait = watching.join_next().await.ok_or("nobody watched")???;
    Ok(Noticed { searches, stored, failed, longest_wait, took })
}

/// Of everybody but the detaching itself, which is there to wait for others.
async fn longest_wait(url: String, over: Arc<AtomicBool>) -> Result<Duration, SearchError> {
    with(&url, async |client| {
        let statement = "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - l.waitstart)), 0)::float8
            FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.query NOT LIKE '%DETACH%'";
        let statement = client.prepare(statement).await?;
        let mut longest = 0.0_f64;
        while !over.load(Ordering::Relaxed) {
            longest = longest.max(client.query_one(&statement, &[]).await?.get(0));
            tokio::time::sleep(SAMPLED).await;
        }
        Ok(Duration::from_secs_f64(longest.max(0.0)))
    })
    .await
}

async fn with<T>(
    url: &str,
    work: impl AsyncFnOnce(&Client) -> Result<T, SearchError>,
) -> Result<T, SearchError> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::select! {
        ended = connection => Err(format!("the connection ended: {ended:?}").into()),
        outcome = work(&client) => outcome,
    }
}
