//! The handle that services hold.

use std::{fmt, path::PathBuf, sync::Arc};

use arc_swap::ArcSwapOption;
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_telemetry::Metrics;
use embermesh_transport::Transport;
use tokio::sync::watch;

use crate::{Section, Snapshot, contact::Contact, disk, epoch, stream};

/// What to subscribe to, and where to keep a copy.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names this subscription in admin's log, in metrics and in `/health/ready`.
    pub subscriber: &'static str,
    /// Of the process's readiness, when it cannot serve without: holds as soon as there is a snapshot, from disk or from admin.
    pub condition: Option<&'static str>,
    /// What this process needs to know; it is told nothing else.
    pub sections: Vec<Section>,
    /// The file that survives a restart.
    pub disk_copy: Option<PathBuf>,
}

/// What a subscription needs of its process.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// For background tasks.
    pub tasks: &'a Tasks,
    /// For the condition, and for what is told of the configuration.
    pub readiness: &'a Readiness,
    /// For the metrics.
    pub metrics: &'a Metrics,
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
    /// Loads the copy on disk and keeps up with admin from then on, for as long as the process runs.
    pub fn start(admin: Transport, options: Options, surroundings: &Surroundings<'_>) -> Self {
        let Surroundings { tasks, readiness, metrics } = surroundings;
        let subscription = Self::unknown();
        let ready = options.condition.map(|name| readiness.condition(name));
        let contact = Contact::new(options.subscriber, metrics);
        let (told, teller) = (contact.clone(), subscription.clone());
        readiness.tell("configuration", options.subscriber, move || told.report(&teller));
        if let Some(path) = &options.disk_copy {
            match disk::load(path) {
                Ok(Some(snapshot)) => {
                    tracing::info!(version = snapshot.version, "starting from the saved configuration");
                    contact.show(snapshot.version);
                    subscription.publish(snapshot);
                    if let Some(ready) = &ready {
                        ready.set(true);
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "not using the saved configuration"),
            }
            // from here on every change counts; what was loaded need not be saved
            let changes = subscription.changes();
            let keep = stream::keep_copy(subscription.clone(), changes, path.clone(), Tasks::clone(tasks));
            tasks.spawn("config copy", keep);
        }
        let asks = epoch::watch(
            admin.clone(),
            options.sections.clone(),
            subscription.clone(),
            contact.clone(),
            Tasks::clone(tasks),
        );
        tasks.spawn("config epoch", asks);
        let follows =
            stream::follow(admin, options, subscription.clone(), contact, Tasks::clone(tasks), ready);
        tasks.spawn("config stream", follows);
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
