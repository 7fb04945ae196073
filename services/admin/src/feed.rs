//! From the table of changes to the streams of this replica.

use std::{sync::Arc, time::Duration};

use embermesh_lifecycle::Tasks;
use embermesh_postgres::DbError;
use tokio::{
    sync::{Notify, broadcast},
    time::sleep,
};

use crate::{metrics::AdminMetrics, store::Store, store::config::Entry};

/// Other replicas write too, and what they wrote must be out within a second.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// A stream that falls so many batches behind gets a new snapshot instead.
const BACKLOG: usize = 256;

/// Changes that were found together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) version: i64,
    pub(crate) entries: Vec<Entry>,
}

/// Tells every stream of this process about every change of every replica.
#[derive(Debug)]
pub(crate) struct Feed {
    batches: broadcast::Sender<Arc<Batch>>,
    written: Notify,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self { batches: broadcast::Sender::new(BACKLOG), written: Notify::new() }
    }

    /// Every batch from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Batch>> {
        self.batches.subscribe()
    }

    /// Says that this replica has just committed a change.
    pub(crate) fn wake(&self) {
        self.written.notify_one();
    }

    /// Looks for changes after `version` until the process stops.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut version: i64,
        store: Store,
        metrics: AdminMetrics,
        tasks: Tasks,
    ) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = self.written.notified() => {}
                () = sleep(POLL_EVERY) => {}
                () = tasks.stopping() => return,
            }
            match self.look(&store, version).await {
                Ok((now, sent)) => {
                    version = now;
                    metrics.changes.inc_by(sent);
                    failing = false;
                }
                Err(error) if failing => {
                    tracing::debug!(%error, "still cannot read changes of the configuration")
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read changes of the configuration");
                    failing = true;
                }
            }
        }
    }

    async fn look(&self, store: &Store, after: i64) -> Result<(i64, u64), DbError> {
        let Some((version, entries)) = store.changes_after(after).await? else { return Ok((after, 0)) };
        let count = u64::try_from(entries.len()).unwrap_or_default();
        // no stream is no error
        let _streams = self.batches.send(Arc::new(Batch { version, entries }));
        Ok((version, count))
    }
}
