//! Thousands of small tenants in one table: what a search costs must not grow with their number.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinSet;

use super::{
    K, SearchError,
    corpus::Corpus,
    figures::Run,
    served::{Served, Tenant},
};

/// Tenants of this bench begin here.
const FIRST: usize = 1_000_000;
/// Their space: with a table of its own, of which no tenant earns an index.
const SPACE: &str = "bench/all-minilm-l6-v2-of-many@384";
/// Rows of each.
pub const ROWS: usize = 200;

/// Gives each of `tenants` its rows; returns rows a second.
///
/// # Errors
/// When a call fails.
pub async fn fill(
    served: &Served,
    corpus: &Corpus,
    tenants: std::ops::Range<usize>,
) -> Result<f64, SearchError> {
    let (begun, count) = (Instant::now(), tenants.len());
    stream::iter(tenants)
        .map(|tenant| async move {
            let rows: Vec<usize> = (0..ROWS).map(|row| (tenant * ROWS + row) % corpus.texts.len()).collect();
            served.tenant(FIRST + tenant)?.in_space(SPACE).put_batch(corpus, &rows).await
        })
        .buffer_unordered(4)
        .try_collect::<Vec<()>>()
        .await?;
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let rate = (count * ROWS) as f64 / begun.elapsed().as_secs_f64();
    Ok(rate)
}

/// Searches of some clients, each for another tenant every time.
///
/// # Errors
/// When a search fails, or does not find as many rows as there are.
pub async fn search(
    served: &Served,
    corpus: &Arc<Corpus>,
    tenants: usize,
    clients: usize,
    seconds: u64,
) -> Result<Run, SearchError> {
    let (over, next) = (Duration::from_secs(seconds), Arc::new(AtomicUsize::new(0)));
    let callers: Arc<Vec<Tenant>> = Arc::new(
        (0..tenants)
            .map(|tenant| Ok::<_, SearchError>(served.tenant(FIRST + tenant)?.in_space(SPACE)))
            .collect::<Result<_, _>>()?,
    );
    let until = Instant::now() + over;
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (corpus, next, callers) = (Arc::clone(corpus), Arc::clone(&next), Arc::clone(&callers));
        running.spawn(async move {
            let mut taken = Vec::new();
            while Instant::now() < until {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                // a large prime step: neighbours in time are no neighbours in the table
                let (caller, query) =
                    (&callers[turn * 7919 % callers.len()], &corpus.queries[turn % corpus.queries.len()]);
                let begun = Instant::now();
                let reply = caller.search(query, false).await?;
                taken.push(begun.elapsed());
                if reply.hits.len() != K || reply.scan != "exact" {
                    return Err(format!("{} rows by {}", reply.hits.len(), reply.scan).into());
                }
            }
            Ok::<_, SearchError>(taken)
        });
    }
    let mut taken = Vec::new();
    for client in running.join_all().await {
        taken.extend(client?);
    }
    Ok(Run::of(taken, over))
}
