//! Work that nobody asks for: partitions ahead of time, indexes, expiry, and the readiness of the database.

use std::{sync::Arc, time::Duration};

use embermesh_lifecycle::{Condition, Tasks};
use embermesh_postgres::{DbError, Standing};

use crate::{
    archive::{self, ArchiveError},
    domain::month::Month,
    retention::Retention,
    store::Store,
};

/// How often the database is asked whether it answers, and the pool is looked at.
const PULSE: Duration = Duration::from_secs(5);
/// How often metrics are told how far behind replicas are.
const REPLICA_PULSE: Duration = Duration::from_secs(1);

/// Starts the background work.
pub(crate) fn start(
    store: &Arc<Store>,
    retention: Arc<Retention>,
    tasks: &Tasks,
    database: Condition,
    pause: Duration,
) {
    let (pulse, rounds) = (Arc::clone(store), Arc::clone(store));
    let (pulse_end, rounds_end) = (tasks.clone(), tasks.clone());
    tasks.spawn("vector-store pulse", async move {
        pulse.metrics().pool.sample(&pulse.pools().app);
        loop {
            tokio::select! {
                () = pulse_end.stopping() => return,
                () = tokio::time::sleep(PULSE) => {}
            }
            let is_up = pulse.pools().app.ping().await.is_ok();
            database.set(is_up || has_replica(&pulse));
            pulse.pools().reap();
            pulse.metrics().pool.sample(&pulse.pools().app);
        }
    });
    tasks.spawn("vector-store maintenance", async move {
        loop {
            tokio::select! {
                () = rounds_end.stopping() => return,
                () = tokio::time::sleep(pause) => {}
            }
            // a build may take minutes and is not worth waiting for: cut off, it is begun anew by the next process
            tokio::select! {
                () = rounds_end.stopping() => return,
                () = async {
                    let _logged = round(&rounds).await;
                    let _logged = report("retention", retention.enforce_sometimes(&rounds).await);
                    archive_due(&rounds).await;
                } => {}
            }
        }
    });
}

/// Watches replicas, and tells metrics of them.
pub(crate) fn watch_replicas(store: &Arc<Store>, tasks: &Tasks) {
    let (store, end) = (Arc::clone(store), tasks.clone());
    if store.pools().reads.status().is_empty() {
        return;
    }
    tasks.spawn("vector-store replicas", async move {
        let tell = async {
            loop {
                store.metrics().sample_replicas(&store.pools().reads.status());
                tokio::time::sleep(REPLICA_PULSE).await;
            }
        };
        tokio::select! {
            () = end.stopping() => {}
            () = store.pools().reads.follow() => {}
            () = tell => {}
        }
    });
}

/// Searches can be served without the primary.
fn has_replica(store: &Store) -> bool {
    store.pools().reads.status().iter().any(|replica| replica.standing == Standing::Following)
}

/// One round of everything. A failure is logged and does not keep the rest from running; the first one is returned.
pub(crate) async fn round(store: &Store) -> Result<(), DbError> {
    let partitions = report("partitions", store.add_all_partitions().await);
    let promoted = report("promotion", store.promote_large_tenants().await.map(drop));
    let expiry = report("expiry", store.expire_answers().await.map(drop));
    let jobs = report("ended jobs", store.expire_jobs().await);
    let uses = report("uses of rows", store.expire_uses().await);
    let indexes = report("indexes", store.build_due_indexes().await.map(drop));
    let words = report("indexes of words", store.build_due_word_indexes().await.map(drop));
    partitions.and(promoted).and(expiry).and(jobs).and(uses).and(indexes).and(words)
}

/// Deletes the rows that are past their tenant's retention.
pub(crate) async fn retain(store: &Store, retention: &Retention) -> Result<(), DbError> {
    report("retention", retention.enforce(store).await)
}

/// A round, and what only a person asks for.
pub(crate) async fn at_once(store: &Store) -> Result<Vec<String>, DbError> {
    round(store).await?;
    store.tidy().await
}

/// Archives the months that are due, if that is configured.
pub(crate) async fn archive_due(store: &Store) {
    let (settings, now) = (store.archive_settings(), Month::of(store.now()));
    let (Some(folder), 1..) = (&settings.folder, settings.after_months) else { return };
    let outcome = archive::archive(store, now.minus(settings.after_months), folder).await;
    // another replica does it
    if let Err(error) = outcome
        && !matches!(error, ArchiveError::Busy)
    {
        tracing::warn!(work = "archive", %error, "maintenance failed, it is tried again");
    }
}

fn report(work: &'static str, outcome: Result<(), DbError>) -> Result<(), DbError> {
    outcome.inspect_err(|error| tracing::warn!(work, %error, "maintenance failed, it is tried again"))
}
