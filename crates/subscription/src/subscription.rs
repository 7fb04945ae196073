//! The handle that services hold.

use std::{fmt, path::PathBuf, sync::Arc};

use arc_swap::ArcSwapOption;
use embermesh_lifecycle::{Condition, Tasks};
use embermesh_proto::internal::v1::config_client::ConfigClient;
use embermesh_transport::Transport;
use tokio::sync::watch;

use crate::{Section, Snapshot, disk, stream};

/// What to subscribe to, and where to keep a copy.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names this process in admin's log.
    pub subscriber: &'static str,
    /// What this process needs to know; it is told nothing else.
    pub sections: Vec<Section>,
    /// The file that survives a restart.
    pub disk_copy: Option<PathBuf>,
}

/// The configuration as this process knows it. Cheap to clone; all clones show the same state.
#[derive(Clone)]
pub struct Subscription(Arc<State>);

struct State {
    /// `None` until a snapshot came from disk or from admin.
    known: ArcSwapOption<Snapshot>,
    versions: watch::Sender<i64>,
}

impl Subscription {
    /// Loads the copy on disk and keeps up with admin from then on, for as long as the process runs. `ready` holds as soon as
    /// there is a snapshot, from either.
    pub fn start(client: ConfigClient<Transport>, options: Options, tasks: &Tasks, ready: Condition) -> Self {
        let subscription = Self::unknown();
        if let Some(path) = &options.disk_copy {
            match disk::load(path) {
                Ok(Some(snapshot)) => {
                    tracing::info!(version = snapshot.version, "starting from the saved configuration");
                    subscription.publish(snapshot);
                    ready.set(true);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "not using the saved configuration"),
            }
            // from here on every change counts; what was loaded need not be saved
            let changes = subscription.changes();
            let keep = stream::keep_copy(subscription.clone(), changes, path.clone(), tasks.clone());
            tasks.spawn("config copy", keep);
        }
        tasks.spawn(
            "config stream",
            stream::follow(client, options, subscription.clone(), tasks.clone(), ready),
        );
        subscription
    }

    /// A configuration that never changes, for tests of what consumes one.
    pub fn fixed(snapshot: Snapshot) -> Self {
        let subscription = Self::unknown();
        subscription.publish(snapshot);
        subscription
    }

    /// Where every subscription begins: nothing is known yet. On its own it stays so, for tests of what consumes one.
    pub fn unknown() -> Self {
        Self(Arc::new(State { known: ArcSwapOption::empty(), versions: watch::Sender::new(0) }))
    }

    /// The state now, empty while nothing is known. Hold it for one request, so that the whole request sees one state.
    pub fn current(&self) -> Arc<Snapshot> {
        self.known().unwrap_or_default()
    }

    /// The state now; `None` until a snapshot came from disk or from admin. For who must tell an absent entry, which may mean
    /// "no limit", from one that was not heard of yet. What is known once stays known.
    pub fn known(&self) -> Option<Arc<Snapshot>> {
        self.0.known.load_full()
    }

    /// The version, as it changes.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.0.versions.subscribe()
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        let version = snapshot.version;
        self.0.known.store(Some(Arc::new(snapshot)));
        self.0.versions.send_replace(version);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("version", &*self.0.versions.borrow()).finish()
    }
}

#[cfg(test)]
mod tests;
