//! What operators turn at run time, put in force here: how long vectors are served from the cache, and when breakers open.

use std::{sync::Arc, time::Duration};

use embermesh_config::{CircuitBreaker, Span};
use embermesh_lifecycle::Tasks;
use embermesh_subscription::{BreakerChanges, RunSettings, Subscription};

use crate::{deployments::Deployments, freshness::Freshness};

/// What can be turned, and what the configuration file says of it.
pub(crate) struct Tuned {
    pub freshness: Arc<Freshness>,
    pub deployments: Arc<Deployments>,
    pub ttl: Duration,
    pub breaker: CircuitBreaker,
}

/// Follows the settings until the process stops.
pub(crate) async fn run(tuned: Tuned, subscription: Subscription, tasks: Tasks) {
    let mut changes = subscription.changes();
    let mut in_force: Option<Arc<RunSettings>> = None;
    loop {
        let wanted = subscription.current().settings().cloned();
        if wanted != in_force {
            tuned.turn(wanted.as_deref().unwrap_or(&RunSettings::default()));
            in_force = wanted;
        }
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tasks.stopping() => return,
        }
    }
}

impl Tuned {
    fn turn(&self, settings: &RunSettings) {
        let (ttl, emergency) = (settings.cache_ttl.unwrap_or(self.ttl), settings.emergency_caching);
        self.freshness.turn(ttl, emergency);
        let breaker = over(self.breaker, &settings.breaker);
        self.deployments.configure(breaker);
        tracing::info!(?ttl, emergency, ?breaker, "turned by an operator");
    }
}

/// The file's settings with those that were given.
fn over(file: CircuitBreaker, given: &BreakerChanges) -> CircuitBreaker {
    CircuitBreaker {
        failure_threshold: given.failure_threshold.unwrap_or(file.failure_threshold),
        success_threshold: given.success_threshold.unwrap_or(file.success_threshold),
        timeout: given.timeout.map_or(file.timeout, Span),
        window: given.window.map_or(file.window, Span),
        minimum_calls: given.minimum_calls.unwrap_or(file.minimum_calls),
        failure_rate: given.failure_rate.unwrap_or(file.failure_rate),
        minimum_failure_rate: given.minimum_failure_rate.unwrap_or(file.minimum_failure_rate),
        slow_call_rate: given.slow_call_rate.unwrap_or(file.slow_call_rate),
        slow_call_duration: given.slow_call_duration.map_or(file.slow_call_duration, Span),
        half_open_calls: given.half_open_calls.unwrap_or(file.half_open_calls),
        ramp: given.ramp.map_or(file.ramp, Span),
    }
}
