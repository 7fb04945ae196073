//! `embedding_provider_health` and `circuit_breaker_state`, learned from the router every few seconds. The gateway alone shows
//! them, so that nothing is counted twice when both are scraped.

use std::{collections::BTreeSet, time::Duration};

use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{DeploymentHealth, HealthRequest, router_client::RouterClient};
use embermesh_telemetry::Metrics;
use embermesh_transport::Transport;
use prometheus::{IntGaugeVec, Opts};

/// Between two questions, and the longest wait for an answer.
const EVERY: Duration = Duration::from_secs(2);
const STATUSES: [&str; 3] = ["healthy", "degraded", "unhealthy"];
const STATES: [&str; 3] = ["closed", "open", "half_open"];

/// Registers the metrics and starts a task that keeps them.
pub(crate) fn start(router: Transport, metrics: &Metrics, tasks: &Tasks) -> Result<(), prometheus::Error> {
    let mut gauges = Gauges::new(metrics)?;
    let mut router = RouterClient::new(router);
    tasks.spawn("provider health", {
        let tasks = tasks.clone();
        async move {
            while !tasks.is_stopping() {
                let mut request = tonic::Request::new(HealthRequest {});
                request.set_timeout(EVERY);
                match router.health(request).await {
                    Ok(reply) => gauges.show(&reply.into_inner().deployments),
                    // what was known last stays: that the router is away says nothing about its providers
                    Err(status) => tracing::debug!(%status, "the router does not tell how its providers are"),
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
    breaker: IntGaugeVec,
    /// Provider and deployment.
    shown: BTreeSet<(String, String)>,
}

impl Gauges {
    fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let health = Opts::new("embedding_provider_health", "1 on the status that a provider has.");
        let breaker = Opts::new(
            "circuit_breaker_state",
            "1 on the state of a deployment's breaker; open stays 1 until it closes.",
        );
        Ok(Self {
            health: metrics.register(IntGaugeVec::new(health, &["provider", "status"])?),
            breaker: metrics.register(IntGaugeVec::new(breaker, &["provider", "deployment", "state"])?),
            shown: BTreeSet::new(),
        })
    }

    fn show(&mut self, deployments: &[DeploymentHealth]) {
        let now: BTreeSet<_> =
            deployments.iter().map(|of| (of.provider.clone(), of.deployment.clone())).collect();
        for (provider, deployment) in self.shown.difference(&now) {
            // what was never there need not go
            for status in STATUSES {
                let _ = self.health.remove_label_values(&[provider, status]);
            }
            for state in STATES {
                let _ = self.breaker.remove_label_values(&[provider, deployment, state]);
            }
        }
        self.shown = now;
        for of in deployments {
            for status in STATUSES {
                self.health.with_label_values(&[&of.provider, status]).set(i64::from(of.status == status));
            }
            for state in STATES {
                // a trial call must not end an alert that waits for some minutes of `open`
                let is_on = of.breaker == state || (state == "open" && of.breaker == "half_open");
                let labels = [&of.provider, &of.deployment, state];
                self.breaker.with_label_values(&labels).set(i64::from(is_on));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use embermesh_subscription::Snapshot;

    use super::*;
    use crate::embeddings::stand_ins::Bench;

    fn deployment(name: &str, status: &str, breaker: &str) -> DeploymentHealth {
        DeploymentHealth {
            provider: name.into(),
            deployment: name.into(),
            status: status.into(),
            breaker: breaker.into(),
        }
    }

    #[tokio::test]
    async fn the_router_is_asked_without_an_identity() {
        let (bench, tasks) = (Bench::new(Snapshot::default()), Tasks::new());
        start(bench.parts.router.clone(), &bench.metrics, &tasks).unwrap();
        let line = r#"embedding_provider_health{provider="stand-in",status="healthy"} 1"#;
        while !bench.metrics.render().contains(line) {
            tokio::task::yield_now().await;
        }
        tasks.stop();
        tasks.finished().await;
    }

    #[test]
    fn open_stays_until_the_breaker_closes() {
        let metrics = Metrics::default();
        let mut gauges = Gauges::new(&metrics).unwrap();
        for (status, breaker, [closed, open, half_open]) in [
            ("healthy", "closed", [1, 0, 0]),
            ("unhealthy", "open", [0, 1, 0]),
            ("degraded", "half_open", [0, 1, 1]),
            ("healthy", "closed", [1, 0, 0]),
        ] {
            gauges.show(&[deployment("x", status, breaker)]);
            let text = metrics.render();
            for (state, value) in [("closed", closed), ("open", open), ("half_open", half_open)] {
                let line = format!(
                    "circuit_breaker_state{{deployment=\"x\",provider=\"x\",state=\"{state}\"}} {value}\n"
                );
                assert!(text.contains(&line), "{line}{text}");
            }
            for other in STATUSES {
                let value = i64::from(other == status);
                let line =
                    format!("embedding_provider_health{{provider=\"x\",status=\"{other}\"}} {value}\n");
                assert!(text.contains(&line), "{line}{text}");
            }
        }
    }

    #[test]
    fn a_provider_that_is_gone_is_shown_no_longer() {
        let metrics = Metrics::default();
        let mut gauges = Gauges::new(&metrics).unwrap();
        gauges.show(&[deployment("x", "unhealthy", "open"), deployment("y", "healthy", "closed")]);
        gauges.show(&[deployment("y", "healthy", "closed")]);
        let text = metrics.render();
        assert!(!text.contains(r#"provider="x""#) && text.contains(r#"provider="y""#), "{text}");
    }
}
