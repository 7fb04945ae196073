//! How long calls of the API are kept: months are made before they are needed and dropped when all of them is too old.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use embermesh_lifecycle::Tasks;
use embermesh_postgres::DbError;
use embermesh_types::Clock;
use tokio::time::sleep;

use crate::store::Store;

const EVERY: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How far ahead there are partitions.
const AHEAD: Duration = Duration::from_secs(92 * 24 * 60 * 60);
/// How old calls may be that a gateway tells late, where they are kept for ever or longer.
const OLDEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The age that calls reach, and the partitions that there are for them.
#[derive(Debug)]
pub(crate) struct Retention {
    /// `None`: they are kept for ever.
    keep: Option<Duration>,
    /// From when to when there are partitions, as far as this process knows.
    covered: Mutex<Option<(SystemTime, SystemTime)>>,
}

impl Retention {
    /// Calls are kept for `keep`; zero is for ever.
    pub(crate) fn new(keep: Duration) -> Self {
        Self { keep: Some(keep).filter(|keep| !keep.is_zero()), covered: Mutex::default() }
    }

    /// What happened before it is not recorded any more.
    pub(crate) fn begin(&self, now: SystemTime) -> SystemTime {
        let age = self.keep.map_or(OLDEST, |keep| keep.min(OLDEST));
        now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Makes sure that calls from `first` to `last` have partitions. Costs nothing once this process knows that there are.
    pub(crate) async fn cover(
        &self,
        store: &Store,
        first: SystemTime,
        last: SystemTime,
    ) -> Result<(), DbError> {
        let covered = *self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        if covered.is_some_and(|(from, until)| from <= first && last <= until) {
            return Ok(());
        }
        let (first, last) = covered.map_or((first, last), |(from, until)| (from.min(first), until.max(last)));
        let made = store.make_request_partitions(first, last).await?;
        if made > 0 {
            tracing::info!(made, "made partitions for calls of the API");
        }
        *self.covered.lock().unwrap_or_else(PoisonError::into_inner) = Some((first, last));
        Ok(())
    }

    /// What this process knew may be wrong.
    pub(crate) fn forget(&self) {
        *self.covered.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Makes and drops partitions now.
    pub(crate) async fn keep_up(&self, store: &Store, now: SystemTime) -> Result<(), DbError> {
        if let Some(keep) = self.keep {
            let before = now.checked_sub(keep).unwrap_or(SystemTime::UNIX_EPOCH);
            let dropped = store.drop_request_partitions(before).await?;
            if dropped > 0 {
                tracing::info!(
                    dropped,
                    "dropped months of calls that are older than admin.api_request_retention"
                );
            }
        }
        // another replica with another retention may have dropped what this one knew
        self.forget();
        self.cover(store, now.checked_sub(DAY).unwrap_or(now), now + AHEAD).await
    }

    /// Keeps up until the process stops.
    pub(crate) async fn run(self: Arc<Self>, store: Store, clock: Clock, tasks: Tasks) {
        loop {
            if let Err(error) = self.keep_up(&store, clock.now()).await {
                tracing::warn!(%error, "cannot make or drop partitions for calls of the API, trying again in an hour");
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                () = tasks.stopping() => return,
            }
        }
    }
}
