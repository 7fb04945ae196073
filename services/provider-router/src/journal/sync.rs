//! Once a second the journal is synchronised with the disk, so that a machine that goes down takes little of it along, and its figures
//! are shown.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_lifecycle::Tasks;
use tokio::time::sleep;

use super::{Backlog, Journal};
use crate::metrics::JournalMetrics;

const EVERY: Duration = Duration::from_secs(1);

/// Runs until the process stops.
pub(crate) async fn sync(journal: Arc<Journal>, metrics: JournalMetrics, tasks: Tasks) {
    let (mut synced, mut up_to_date) = (0, Instant::now());
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = tasks.stopping() => return,
        }
        let written = journal.inner().segments.end().written;
        if written != synced
            && let Some(file) = journal.file()
        {
            match tokio::task::spawn_blocking(move || file.sync_data()).await {
                Ok(Ok(())) => synced = written,
                Ok(Err(error)) => tracing::warn!(%error, "the journal cannot be synchronised with the disk"),
                Err(error) => tracing::error!(%error, "synchronising the journal was cut off"),
            }
        }
        let Backlog { entries, bytes } = journal.backlog();
        if entries == 0 {
            up_to_date = Instant::now();
        }
        metrics.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        metrics.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        metrics.age.set(i64::try_from(up_to_date.elapsed().as_secs()).unwrap_or(i64::MAX));
    }
}
