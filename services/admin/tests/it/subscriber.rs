//! A service that follows the configuration.

use std::time::Duration;

use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_proto::internal::v1::Section;
use embermesh_subscription::{Options, Snapshot, Subscription, Surroundings};
use embermesh_telemetry::Metrics;

use crate::world::Replica;

pub(crate) fn subscribe(replica: &Replica, sections: &[Section], tasks: &Tasks) -> Subscription {
    let options =
        Options { subscriber: "test", condition: None, sections: sections.to_vec(), disk_copy: None };
    let (readiness, metrics) = (Readiness::default(), Metrics::default());
    let surroundings = Surroundings { tasks, readiness: &readiness, metrics: &metrics };
    Subscription::start(replica.to_config.clone(), options, &surroundings)
}

/// Waits for a state; a stream that never brings it fails the test.
pub(crate) async fn until(subscription: &Subscription, what: &str, holds: impl Fn(&Snapshot) -> bool) {
    let mut changes = subscription.changes();
    let waiting = async {
        while !holds(&subscription.current()) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("never seen: {what}"));
}
