//! Automatic rotation: keys become due at an age, their holders take successors, and what has one that is used ends after an overlap.

use std::{sync::Arc, time::Duration};

use embermesh_config::KeyRotation;
use embermesh_lifecycle::Tasks;
use embermesh_postgres::DbError;
use embermesh_types::{Clock, KeyId, TenantId};
use tokio::time::sleep;

use crate::{feed::Feed, metrics::KeyMetrics, store::Store};

/// A use of a successor is known to admin a minute after it, more or less.
const EVERY: Duration = Duration::from_secs(30);
/// How long before their end keys are shown as ending.
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What looks after keys.
#[derive(Debug)]
pub(crate) struct AutomaticRotation {
    pub(crate) settings: KeyRotation,
    pub(crate) store: Store,
    pub(crate) feed: Arc<Feed>,
    pub(crate) metrics: KeyMetrics,
    pub(crate) clock: Clock,
}

impl AutomaticRotation {
    /// Looks after them until the process stops. Any number of replicas may.
    pub(crate) async fn run(self: Arc<Self>, tasks: Tasks) {
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "cannot look after the rotation of keys, trying again");
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                () = tasks.stopping() => return,
            }
        }
    }

    /// Does now what there is to do.
    pub(crate) async fn look(&self) -> Result<(), DbError> {
        let now = self.clock.now();
        if self.settings.enabled
            && let Some(before) = now.checked_sub(self.settings.rotation_period.0)
        {
            for tenant in self.store.tenants_with_old_keys(before, now).await? {
                let due = self.store.make_due(tenant, before, now).await?;
                tracing::info!(%tenant, keys = due, "the rotation of keys is due");
                self.feed.wake();
            }
        }
        // what was given out is completed, whether or not more is
        for (tenant, id) in self.store.delivered(now).await? {
            self.complete(tenant, &id).await?;
        }
        let waiting = self.store.waiting_keys(now, now + SOON).await?;
        self.metrics.due.set(waiting.due);
        self.metrics.ending.set(waiting.ending);
        Ok(())
    }

    async fn complete(&self, tenant: TenantId, id: &str) -> Result<(), DbError> {
        let Ok(key) = id.parse::<KeyId>() else { return Ok(()) };
        let Some(change) = self.store.change_key(tenant, &key).await? else { return Ok(()) };
        // only now is it this change's turn
        let now = self.clock.now();
        if change.complete(tenant, self.settings.overlap.0, now).await? {
            tracing::info!(%tenant, id, "a key ends: its successor is in use");
            self.feed.wake();
        }
        Ok(())
    }
}
