//! A service that follows the configuration.

use std::time::Duration;

use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_proto::internal::v1::Section;
use embermesh_subscription::{Options, Snapshot, Subscription};

use crate::world::Replica;

pub(crate) fn subscribe(replica: &Replica, sections: &[Section], tasks: &Tasks) -> Subscription {
    let options = Options { subscriber: "test", sections: sections.to_vec(), disk_copy: None };
    Subscription::start(
        replica.config.clone(),
        options,
        tasks,
        Readiness::default().condition("configuration"),
    )
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
