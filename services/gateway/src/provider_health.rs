//! How providers are, learned from the router every few seconds: `embedding_provider_health`, `circuit_breaker_state` and what the
//! canaries found. The gateway alone shows them, so that nothing is counted twice when both are scraped. What a router told last stays
//! while none answers: for `redis.cache_strategies.provider_health.ttl`, where that is set.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use embermesh_config::HealthCache;
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{DeploymentHealth, HealthRequest, router_client::RouterClient};
use embermesh_telemetry::Metrics;
use embermesh_transport::Transport;
use prometheus::{GaugeVec, IntGaugeVec, Opts};
use tokio::time::Instant;

/// Between two questions, and the longest wait for an answer.
const EVERY: Duration = Duration::from_secs(2);
/// From best to worst.
const STATUSES: [&str; 3] = ["healthy", "degraded", "unhealthy"];
/// Of a breaker; the last two by an operator's word.
const STATES: [&str; 5] = ["closed", "open", "half_open", "forced_open", "forced_closed"];
/// Deployments with labels of their own; a configuration has tens.
const MAX_SHOWN: usize = 1000;

/// Registers the metrics and starts a task that keeps them.
pub(crate) fn start(
    router: Transport,
    keep: &HealthCache,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<(), prometheus::Error> {
    let most = keep.max_entries.map_or(MAX_SHOWN, |most| most as usize);
    let mut gauges = Gauges::new(metrics, most)?;
    let ttl = keep.ttl.map(|ttl| ttl.0);
    let mut router = RouterClient::new(router);
    tasks.spawn("provider health", {
        let tasks = tasks.clone();
        async move {
            let mut heard = Instant::now();
            while !tasks.is_stopping() {
                let mut request = tonic::Request::new(HealthRequest {});
                request.set_timeout(EVERY);
                match router.health(request).await {
                    Ok(reply) => {
                        heard = Instant::now();
                        gauges.show(&reply.into_inner().deployments);
                    }
                    // that the router is away says nothing about its providers
                    Err(status) => {
                        tracing::debug!(%status, "the router does not tell how its providers are");
                        if ttl.is_some_and(|ttl| heard.elapsed() > ttl) {
                            gauges.show(&[]);
                        }
                    }
                }
                tokio::select! {
                    () = tasks.stopping() => {}
                    () = tokio::time::sleep(EVERY) => {}
                }
            }
        }
    });
    Ok(())
}

struct Gauges {
    health: IntGaugeVec,
    availability: GaugeVec,
    breaker: IntGaugeVec,
    cosine: GaugeVec,
    drift: IntGaugeVec,
    /// Deployments that are shown at most.
    most: usize,
    /// Provider and deployment.
    shown: BTreeSet<(String, String)>,
}

/// A provider is as well as the worst of its deployments.
#[derive(Default)]
struct Provider {
    /// Place in [`STATUSES`].
    status: usize,
    availability: Option<f64>,
}

impl Gauges {
    fn new(metrics: &Metrics, most: usize) -> Result<Self, prometheus::Error> {
        let health = Opts::new(
            "embedding_provider_health",
            "1 on the status that a provider has, that of its worst deployment.",
        );
        let availability = Opts::new(
            "embedding_provider_availability_ratio",
            "Of the last minute's calls, those that a provider answered; of its worst deployment, absent without calls.",
        );
        let breaker = Opts::new(
            "circuit_breaker_state",
            "1 on the state of a deployment's breaker; open stays 1 until it closes. A forced one shows as open or closed too.",
        );
        let cosine = Opts::new(
            "embedding_canary_cosine",
            "Of a deployment's last canary against the recorded vectors of its space.",
        );
        let drift = Opts::new("embedding_drift", "1 on a deployment that gives other vectors than recorded.");
        let of_deployment = ["provider", "deployment"];
        Ok(Self {
            health: metrics.register(IntGaugeVec::new(health, &["provider", "status"])?),
            availability: metrics.register(GaugeVec::new(availability, &["provider"])?),
            breaker: metrics.register(IntGaugeVec::new(breaker, &["provider", "deployment", "state"])?),
            cosine: metrics.register(GaugeVec::new(cosine, &of_deployment)?),
            drift: metrics.register(IntGaugeVec::new(drift, &of_deployment)?),
            most,
            shown: BTreeSet::new(),
        })
    }

    fn show(&mut self, deployments: &[DeploymentHealth]) {
        let deployments = &deployments[..deployments.len().min(self.most)];
        self.forget_those_gone(deployments);
        let mut providers: BTreeMap<&str, Provider> = BTreeMap::new();
        for of in deployments {
            let provider = providers.entry(&of.provider).or_default();
            provider.status = provider.status.max(status(of));
            provider.availability = match (provider.availability, of.availability) {
                (Some(worst), Some(now)) => Some(worst.min(now)),
                (worst, now) => worst.or(now),
            };
            self.show_deployment(of);
        }
        for (name, provider) in providers {
            for (at, status) in STATUSES.into_iter().enumerate() {
                self.health.with_label_values(&[name, status]).set(i64::from(at == provider.status));
            }
            match provider.availability {
                Some(ratio) => self.availability.with_label_values(&[name]).set(ratio),
                None => forget(self.availability.remove_label_values(&[name])),
            }
        }
    }

    fn show_deployment(&self, of: &DeploymentHealth) {
        let labels = [&of.provider, &of.deployment];
        for state in STATES {
            let is_on = shows(&of.breaker, state);
            self.breaker.with_label_values(&[labels[0], labels[1], state]).set(i64::from(is_on));
        }
        self.drift.with_label_values(&labels).set(i64::from(of.drifted));
        match of.canary_cosine {
            Some(cosine) => self.cosine.with_label_values(&labels).set(cosine),
            None => forget(self.cosine.remove_label_values(&labels)),
        }
    }

    fn forget_those_gone(&mut self, deployments: &[DeploymentHealth]) {
        let now: BTreeSet<_> =
            deployments.iter().map(|of| (of.provider.clone(), of.deployment.clone())).collect();
        for (provider, deployment) in self.shown.difference(&now) {
            for state in STATES {
                forget(self.breaker.remove_label_values(&[provider, deployment, state]));
            }
            forget(self.cosine.remove_label_values(&[provider, deployment]));
            forget(self.drift.remove_label_values(&[provider, deployment]));
            if !now.iter().any(|(other, _)| other == provider) {
                for status in STATUSES {
                    forget(self.health.remove_label_values(&[provider.as_str(), status]));
                }
                forget(self.availability.remove_label_values(&[provider]));
            }
        }
        self.shown = now;
    }
}

/// Whether the line of `state` is on while a breaker is `breaker`: that of its own state, and that of what it does to calls.
fn shows(breaker: &str, state: &str) -> bool {
    let acts_as = match breaker {
        // a trial call must not end an alert that waits for some minutes of `open`
        "half_open" | "forced_open" => "open",
        "forced_closed" => "closed",
        other => other,
    };
    state == breaker || state == acts_as
}

/// What was never shown need not go.
fn forget(_removed: Result<(), prometheus::Error>) {}

/// A deployment's place in [`STATUSES`]. One that gives other vectors than recorded serves nobody, however fast it answers; what this
/// build does not know is nothing good.
fn status(of: &DeploymentHealth) -> usize {
    let worst = STATUSES.len() - 1;
    let named = STATUSES.iter().position(|status| *status == of.status).unwrap_or(worst);
    if of.drifted { worst } else { named }
}

#[cfg(test)]
mod tests;
