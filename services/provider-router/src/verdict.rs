//! What a call says about the deployment that it was made to: its breakers, its credential, its measured figures.

use std::time::{Duration, Instant};

use embermesh_providers::{Failure, ProviderAnswer, ProviderError};
use embermesh_resilience::Permit;
use rand::RngExt;

use crate::{attempts::Attempts, deployment::Deployment};

/// How long a deployment rests that does not know its model or path: mostly a mistake in the configuration, now and then a hiccup.
const MISPLACED: Duration = Duration::from_secs(5);
/// Longest rest that a deployment may ask for.
const MAX_REST: Duration = Duration::from_secs(60);

impl Attempts {
    /// Tells everything that keeps count of a deployment how a call went.
    pub fn judge(
        &self,
        deployment: &Deployment,
        answered: &Result<ProviderAnswer, ProviderError>,
        took: Duration,
        permit: Permit,
        host: Option<Permit>,
    ) {
        let state = || deployment.breaker.standing(Instant::now()).state;
        let before = state();
        self.note(deployment, answered, took, permit, host);
        let after = state();
        if before != after {
            self.metrics.transitions.with_label_values(&[&*deployment.name, after.as_str()]).inc();
            tracing::warn!(deployment = %deployment.name, from = before.as_str(), to = after.as_str(), "the circuit breaker has moved");
        }
    }

    fn note(
        &self,
        deployment: &Deployment,
        answered: &Result<ProviderAnswer, ProviderError>,
        took: Duration,
        permit: Permit,
        host: Option<Permit>,
    ) {
        let now = Instant::now();
        let account = &deployment.account;
        let status = answered.as_ref().map_or_else(|error| error.failure.as_str(), |_| "ok");
        let seconds = self.metrics.provider_seconds.with_label_values(&[&*account.name, status]);
        seconds.observe(took.as_secs_f64());
        let Err(error) = answered else {
            permit.succeeded(now, took);
            if let Some(host) = host {
                host.succeeded(now, took);
            }
            account.credential.accepted();
            deployment.stats.record(now, took, true);
            deployment.concurrency.succeeded();
            deployment.succeeded(took);
            return;
        };
        deployment.failed(&error.message);
        let after = error.retry_after.map(|after| after.min(MAX_REST));
        if let Some(host) = host {
            match error.failure {
                Failure::Unreachable => host.failed(now, took),
                Failure::Local | Failure::TimedOut | Failure::Abandoned => host.ignored(),
                _ => host.succeeded(now, took),
            }
        }
        match error.failure {
            Failure::Unreachable
            | Failure::Broken
            | Failure::TimedOut
            | Failure::Server
            | Failure::Intermediary
            | Failure::BadAnswer => {
                permit.failed(now, took);
                deployment.stats.record(now, took, false);
                if let Some(after) = after {
                    deployment.rest(now + after);
                }
            }
            Failure::Throttled => {
                permit.ignored();
                let jitter = Duration::from_millis(rand::rng().random_range(1000..1500));
                deployment.throttle(now + after.unwrap_or(jitter));
                deployment.concurrency.throttled();
                self.metrics.throttled.with_label_values(&[&*account.name]).inc();
            }
            Failure::Unauthorized => {
                permit.ignored();
                if account.credential.refused(now) {
                    tracing::error!(provider = %account.name, "the provider refuses the credential, it is left alone for ten minutes");
                }
            }
            Failure::Exhausted => {
                permit.ignored();
                account.credential.exhausted(now);
                tracing::error!(provider = %account.name, "the quota or credit is used up, the provider is left alone for ten minutes");
            }
            Failure::NotHere => {
                permit.ignored();
                deployment.rest(now + MISPLACED);
            }
            Failure::Refused | Failure::TooLong | Failure::Abandoned | Failure::Local => permit.ignored(),
        }
    }
}
