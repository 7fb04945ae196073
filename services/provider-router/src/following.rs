//! What the router does when the configuration changes: first the providers, then the orders about their breakers.

use std::sync::Arc;

use embermesh_lifecycle::Condition;
use embermesh_subscription::Subscription;

use crate::{attempts::Attempts, orders::Orders};

/// Follows until the process stops; `ready` holds once the providers are those of a known configuration.
pub(crate) async fn run(attempts: Arc<Attempts>, subscription: Subscription, ready: Condition) {
    let mut changes = subscription.changes();
    let mut orders = Orders::default();
    loop {
        if let Some(snapshot) = subscription.known() {
            attempts.deployments.follow(&snapshot);
            orders.obey(&attempts, &snapshot);
            ready.set(true);
        }
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = attempts.tasks.stopping() => return,
        }
    }
}
