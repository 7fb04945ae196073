//! Looks at every deployment in use once a period: one that gives other vectors than those recorded goes out of rotation, and comes
//! back when it gives the right ones again.

use std::{collections::HashMap, sync::Arc, sync::atomic::Ordering, time::Duration};

use embermesh_subscription::Subscription;
use rand::RngExt;

use crate::{attempts::Attempts, deployment::Deployment, proofs::Look};

/// Runs until the process stops.
pub(crate) async fn run(attempts: Arc<Attempts>, subscription: Subscription, interval: Duration) {
    // calls that each deployment had made when it was last looked at
    let mut seen: HashMap<Arc<str>, u64> = HashMap::new();
    loop {
        // replicas should not all ask in the same instant
        let pause = interval.mul_f64(rand::rng().random_range(0.9..1.0));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = attempts.tasks.stopping() => return,
        }
        for deployment in attempts.deployments.used() {
            let calls = deployment.calls.load(Ordering::Relaxed);
            let idle = seen.get(&deployment.name) == Some(&calls) && deployment.proof.out().is_none();
            if !idle && attempts.proofs.concerns(&deployment) {
                look(&attempts, &subscription, &deployment).await;
            }
            seen.insert(Arc::clone(&deployment.name), deployment.calls.load(Ordering::Relaxed));
        }
    }
}

async fn look(attempts: &Arc<Attempts>, subscription: &Subscription, deployment: &Arc<Deployment>) {
    let snapshot = subscription.current();
    let Some(model) = snapshot.model(&deployment.model) else { return };
    match attempts.proofs.look(deployment, model, attempts).await {
        Ok(Look::Recorded) => {
            tracing::info!(deployment = %deployment.name, "recorded what the space is held to");
        }
        Ok(Look::Right(_) | Look::Wrong(_)) => {}
        Err(error) => {
            tracing::warn!(deployment = %deployment.name, %error, "the canary got no answer");
        }
    }
}
