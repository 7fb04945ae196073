//! Work that nobody asks for: partitions ahead of time, indexes, expiry, and the readiness of the database.

use std::{sync::Arc, time::Duration};

use embermesh_lifecycle::{Condition, Tasks};
use embermesh_postgres::DbError;

use crate::store::Store;

/// How often the database is asked whether it answers, and the pool is looked at.
const PULSE: Duration = Duration::from_secs(5);

/// Starts the background work.
pub(crate) fn start(store: &Arc<Store>, tasks: &Tasks, database: Condition, pause: Duration) {
    let (pulse, rounds) = (Arc::clone(store), Arc::clone(store));
    let (pulse_end, rounds_end) = (tasks.clone(), tasks.clone());
    tasks.spawn("vector-store pulse", async move {
        loop {
            tokio::select! {
                () = pulse_end.stopping() => return,
                () = tokio::time::sleep(PULSE) => {}
            }
            database.set(pulse.pools().app.ping().await.is_ok());
            pulse.pools().reap();
            pulse.metrics().sample(&pulse.pools().app);
        }
    });
    tasks.spawn("vector-store maintenance", async move {
        loop {
            // a build may take minutes and is not worth waiting for: cut off, it is begun anew by the next process
            tokio::select! {
                () = rounds_end.stopping() => return,
                () = round(&rounds) => {}
            }
            tokio::select! {
                () = rounds_end.stopping() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
}

/// One round of everything; a failure is logged and does not keep the rest from running.
pub(crate) async fn round(store: &Store) {
    let partitions = store.add_all_partitions().await;
    report("partitions", partitions);
    report("expiry", store.expire_requests().await.map(drop));
    report("indexes", store.build_due_indexes().await.map(drop));
}

fn report(work: &'static str, outcome: Result<(), DbError>) {
    if let Err(error) = outcome {
        tracing::warn!(work, %error, "maintenance failed, it is tried again");
    }
}
