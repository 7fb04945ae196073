//! Orders about breakers, as the configuration brings them to every router.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Instant,
};

use embermesh_resilience::Breaker;
use embermesh_subscription::{BreakerAction, Snapshot};

use crate::{attempts::Attempts, deployment::Deployment};

/// The orders that were obeyed.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    obeyed: HashMap<String, Obeyed>,
    begun: bool,
}

/// An order, and the breaker that it was given to: a deployment that is made anew has another one, which has not heard of it.
#[derive(Debug)]
struct Obeyed {
    number: i64,
    breaker: Weak<Breaker>,
}

impl Orders {
    /// Obeys what is new.
    pub fn obey(&mut self, attempts: &Attempts, snapshot: &Snapshot) {
        let first = !std::mem::replace(&mut self.begun, true);
        for (name, order) in snapshot.breaker_orders() {
            let Some(deployment) = find(attempts, snapshot, name) else {
                // its model may come into the catalog later
                tracing::debug!(
                    deployment = name,
                    "an order is about a deployment that this router does not have"
                );
                continue;
            };
            let breaker = Arc::downgrade(&deployment.breaker);
            let before = self.obeyed.get(name);
            // another number, not a greater one: a restored backup counts from before
            let known = before.is_some_and(|obeyed| obeyed.number == order.number);
            if known && before.is_some_and(|obeyed| obeyed.breaker.ptr_eq(&breaker)) {
                continue;
            }
            // nothing is open yet that a reset could close
            if !((first || known) && order.action == BreakerAction::Reset) {
                apply(&deployment, order.action, order.number);
            }
            self.obeyed.insert(name.to_owned(), Obeyed { number: order.number, breaker });
        }
    }
}

/// Applies an order to one deployment, once: the router that gives it hears of it again from the stream, and a breaker that is reset
/// turns away the calls that are about to begin.
pub(crate) fn apply(deployment: &Deployment, action: BreakerAction, number: i64) {
    if !deployment.is_new_order(number) {
        return;
    }
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
    let accounts = attempts.deployments.accounts();
    accounts.iter().find_map(|account| {
        let model = snapshot.model(name.strip_prefix(&*account.name)?.strip_prefix('/')?)?;
        account.serves(model).then(|| attempts.deployments.deployment(account, model))
    })
}
