//! Orders about breakers, as the configuration brings them to every router.

use std::{collections::HashMap, sync::Arc, time::Instant};

use embermesh_subscription::{BreakerAction, Snapshot, Subscription};

use crate::{attempts::Attempts, deployment::Deployment};

/// Obeys until the process stops.
pub(crate) async fn run(attempts: Arc<Attempts>, subscription: Subscription) {
    let mut changes = subscription.changes();
    let mut obeyed: HashMap<String, i64> = HashMap::new();
    let mut first = true;
    loop {
        if let Some(snapshot) = subscription.known() {
            obey(&attempts, &snapshot, &mut obeyed, first);
            first = false;
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

fn obey(attempts: &Attempts, snapshot: &Snapshot, obeyed: &mut HashMap<String, i64>, first: bool) {
    for (name, order) in snapshot.breaker_orders() {
        // another number, not a greater one: a restored backup counts from before
        if obeyed.get(name) == Some(&order.number) {
            continue;
        }
        // nothing is open yet that a reset could close
        if first && order.action == BreakerAction::Reset {
            obeyed.insert(name.to_owned(), order.number);
            continue;
        }
        match find(attempts, snapshot, name) {
            Some(deployment) => {
                apply(&deployment, order.action);
                obeyed.insert(name.to_owned(), order.number);
            }
            // its model may come into the catalog later
            None => {
                tracing::debug!(
                    deployment = name,
                    "an order is about a deployment that this router does not have"
                )
            }
        }
    }
}

/// Applies an order to one deployment.
pub(crate) fn apply(deployment: &Deployment, action: BreakerAction) {
    let now = Instant::now();
    tracing::warn!(deployment = %deployment.name, action = action.as_str(), "by order of an operator");
    match action {
        BreakerAction::Reset => deployment.reset(now),
        BreakerAction::ForceOpen => deployment.breaker.force_open(now),
        BreakerAction::ForceClosed => deployment.breaker.force_closed(now),
    }
}

/// The deployment of this name, `entry/model`.
fn find(attempts: &Attempts, snapshot: &Snapshot, name: &str) -> Option<Arc<Deployment>> {
    attempts.deployments.accounts().iter().find_map(|account| {
        let model = snapshot.model(name.strip_prefix(&*account.name)?.strip_prefix('/')?)?;
        account.serves(model).then(|| attempts.deployments.deployment(account, model))
    })
}
