//! Next months' partitions, made long before they are needed.

use std::{sync::Arc, time::Duration};

use embermesh_lifecycle::Tasks;
use tokio::time::sleep;

use embermesh_escrow::day_of;

use crate::service::Shared;

const EVERY: Duration = Duration::from_secs(3600);

/// Makes them until the process stops.
pub(crate) async fn run(shared: Arc<Shared>, tasks: Tasks) {
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = tasks.stopping() => return,
        }
        match shared.store.make_partitions(day_of(shared.clock.now())).await {
            Ok(0) => {}
            Ok(made) => tracing::info!(made, "made partitions"),
            Err(error) => {
                tracing::error!(%error, "cannot make partitions, the ledger stops when they run out")
            }
        }
    }
}
