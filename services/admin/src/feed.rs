//! From the table of changes to the streams of this replica.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use embermesh_lifecycle::Tasks;
use embermesh_postgres::DbError;
use tokio::{
    sync::{Notify, broadcast},
    time::{Instant, sleep},
};

use crate::{
    metrics::AdminMetrics,
    store::{Store, config::Entry, epoch::Epochs},
};

/// Other replicas write too, and what they wrote must be out within a second.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// Beyond this nobody is told that nothing is new: another replica may have written.
const EPOCHS_GOOD_FOR: Duration = Duration::from_secs(3);
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
    /// Kept here, so that a subscriber's question costs the database nothing; and when they were read.
    epochs: Mutex<Option<(Epochs, Instant)>>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self { batches: broadcast::Sender::new(BACKLOG), written: Notify::new(), epochs: Mutex::new(None) }
    }

    /// How new each section is, to about half a second; `None` when the database has not said so lately.
    pub(crate) fn epochs(&self) -> Option<Epochs> {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        let (epochs, read) = epochs.as_ref()?;
        (read.elapsed() <= EPOCHS_GOOD_FOR).then(|| epochs.clone())
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

    /// Many changes at once are no reason to read them as often.
    fn epochs_are_due(&self) -> bool {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.as_ref().is_none_or(|(_, read)| read.elapsed() >= POLL_EVERY / 2)
    }

    async fn look(&self, store: &Store, after: i64) -> Result<(i64, u64), DbError> {
        let mut reached = (after, 0);
        if let Some((version, entries)) = store.changes_after(after).await? {
            reached = (version, u64::try_from(entries.len()).unwrap_or_default());
            // no stream is no error
            let _streams = self.batches.send(Arc::new(Batch { version, entries }));
        }
        if self.epochs_are_due() {
            let epochs = store.epochs().await?;
            *self.epochs.lock().unwrap_or_else(PoisonError::into_inner) = Some((epochs, Instant::now()));
        }
        Ok(reached)
    }
}
