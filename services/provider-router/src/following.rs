//! What the router does when the configuration changes: first the providers, then the orders about their breakers, then what is to be
//! cleared from memory.

use std::sync::Arc;

use embermesh_lifecycle::Condition;
use embermesh_subscription::Subscription;

use crate::{attempts::Attempts, clearing::Clearing, orders::Orders};

/// Follows until the process stops; `ready` holds once the providers are those of a known configuration.
pub(crate) async fn run(attempts: Arc<Attempts>, subscription: Subscription, ready: Condition) {
    let mut changes = subscription.changes();
    let mut orders = Orders::default();
    let mut clearing = Clearing::default();
    loop {
        if let Some(snapshot) = subscription.known() {
            attempts.deployments.follow(&snapshot);
            orders.obey(&attempts, &snapshot);
            clearing.obey(&attempts.tiers.memory, &snapshot);
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
