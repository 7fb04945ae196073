//! Rounds of kill -9 while rows are stored: what was acknowledged is there, once, with its key, and nothing else is.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use embermesh_proto::{internal::v1::PutRow, to_le_bytes};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio_postgres::NoTls;

use crate::{
    faults::database::Database,
    rounds::bar::Bar,
    search::{
        SearchError,
        served::{Served, Tenant},
    },
};

const SPACE: &str = "bench/ingest@16";
const DIMENSIONS: u32 = 16;
const WRITERS: u64 = 4;
/// Most rows of one call.
const ROWS: u32 = 200;
/// Before a call that failed is made again.
const PAUSE: Duration = Duration::from_millis(20);
/// One round in so many kills both.
const BOTH_EVERY: u32 = 5;

/// What clients were told, and what is not as it was promised.
#[derive(Debug, Default)]
struct Told {
    /// The id of each text of an acknowledged call.
    ids: BTreeMap<String, String>,
    /// Texts that were acknowledged under two ids.
    doubled: Vec<String>,
    calls: usize,
    repeated: usize,
}

/// Kills the store, PostgreSQL, or both at a random moment of each round; compares at the end.
///
/// # Errors
/// When the system does not come back.
pub async fn run(bin: &Path, rounds: u32, seed: u64) -> Result<Vec<Bar>, SearchError> {
    let folder = tempfile::TempDir::new()?;
    let mut dice = StdRng::seed_from_u64(seed);
    let mut database = Database::start(&folder.path().join("postgres")).await?;
    let url = database.url().to_owned();
    let mut served = Served::start(bin, folder.path(), &url, "{maintenance_seconds: 1}").await?;
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        // two writers for each tenant
        let tenant = served.tenant(usize::try_from(number / 2)?)?;
        writers.spawn(write(tenant, number, seed, Arc::clone(&over)));
    }
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(dice.random_range(10..400))).await;
        let down = Duration::from_millis(dice.random_range(0..300));
        let both = round % BOTH_EVERY == 0;
        if both || dice.random_range(0..2) == 0 {
            database.kill().await?;
            if both {
                let returning = async {
                    tokio::time::sleep(down / 2).await;
                    database.start_again().await
                };
                tokio::try_join!(served.die(down), returning)?;
            } else {
                tokio::time::sleep(down).await;
                database.start_again().await?;
            }
        } else {
            served.die(down).await?;
        }
        if round % 10 == 9 {
            eprintln!("bench-ingest: {} of {rounds} rounds", round + 1);
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    over.store(true, Ordering::Relaxed);
    let told: Vec<Told> = writers.join_all().await;
    let bars = compare(&url, rounds, &told).await?;
    served.stop().await?;
    database.stop().await?;
    Ok(bars)
}

/// Stores one batch after the other, each again and again until it is acknowledged.
async fn write(tenant: Tenant, number: u64, seed: u64, over: Arc<AtomicBool>) -> Told {
    let mut dice = StdRng::seed_from_u64(seed ^ (number + 1));
    let (mut told, mut next) = (Told::default(), 0_u32);
    while !over.load(Ordering::Relaxed) {
        let fresh = dice.random_range(1..=ROWS);
        let mut texts: Vec<String> =
            (next..next + fresh).map(|n| format!("writer {number} text {n}")).collect();
        next += fresh;
        // texts that are there already, and one that the batch has twice
        for _ in 0..fresh / 10 {
            texts.push(format!("writer {number} text {}", dice.random_range(0..next)));
        }
        let rows: Vec<PutRow> = texts.iter().map(|text| row(text)).collect();
        loop {
            told.calls += 1;
            match tenant.put_rows(SPACE, DIMENSIONS, rows.clone()).await {
                Ok(results) => {
                    for (text, result) in texts.iter().zip(results) {
                        let known =
                            told.ids.entry(text.clone()).or_insert_with(|| result.embedding_id.clone());
                        if *known != result.embedding_id {
                            told.doubled.push(text.clone());
                        }
                    }
                    break;
                }
                Err(_) => {
                    told.repeated += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    told
}

fn row(text: &str) -> PutRow {
    let hash = text.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let vector: Vec<f32> = (0..DIMENSIONS).map(|at| if (hash >> at) & 1 == 1 { 1.0 } else { -1.0 }).collect();
    PutRow {
        agent_id: "bench".into(),
        content: text.into(),
        metadata: "{}".into(),
        model: "model".into(),
        provider: "local".into(),
        input_type: "document".into(),
        task_type: "general_qa".into(),
        pii_policy_version: "1".into(),
        vector: to_le_bytes(&vector),
        ..PutRow::default()
    }
}

async fn compare(url: &str, rounds: u32, told: &[Told]) -> Result<Vec<Bar>, SearchError> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let mut connections = tokio::task::JoinSet::new();
    connections.spawn(connection);
    client.batch_execute("SET search_path = store, public").await?;
    let mut stored: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in client.query("SELECT content, embedding_id::text FROM embeddings", &[]).await? {
        stored.entry(row.get(0)).or_default().insert(row.get(1));
    }
    let acknowledged = || told.iter().flat_map(|told| &told.ids);
    let lost: Vec<_> =
        acknowledged().filter(|(text, id)| !stored.get(*text).is_some_and(|ids| ids.contains(*id))).collect();
    let twice: Vec<_> = stored.iter().filter(|(_, ids)| ids.len() > 1).collect();
    let told_twice: Vec<_> = told.iter().flat_map(|told| &told.doubled).collect();
    let apart = "SELECT (SELECT count(*) FROM embeddings e WHERE NOT EXISTS (
                SELECT FROM embedding_keys k WHERE k.tenant_id = e.tenant_id AND k.embedding_id = e.embedding_id))
            + (SELECT count(*) FROM embedding_keys k WHERE NOT EXISTS (
                SELECT FROM embeddings e WHERE e.tenant_id = k.tenant_id AND e.embedding_id = k.embedding_id))";
    let apart: i64 = client.query_one(apart, &[]).await?.get(0);
    let name = format!("{rounds} rounds of kill -9");
    let (calls, repeated) = (
        told.iter().map(|told| told.calls).sum::<usize>(),
        told.iter().map(|told| told.repeated).sum::<usize>(),
    );
    Ok(vec![
        Bar::none(
            &name,
            "acknowledged rows that are not there",
            lost.len(),
            lost.first().map(|(text, _)| text.as_str()),
        ),
        Bar::none(
            &name,
            "texts that are there twice",
            twice.len(),
            twice.first().map(|(text, _)| text.as_str()),
        ),
        Bar::none(
            &name,
            "texts acknowledged under two ids",
            told_twice.len(),
            told_twice.first().map(|text| text.as_str()),
        ),
        Bar::none(&name, "rows without key and keys without row", usize::try_from(apart)?, None),
        Bar::told(
            &name,
            "acknowledged texts / calls / of these failed",
            format!("{} / {calls} / {repeated}", acknowledged().count()),
        ),
    ])
}
