//! Every deployment of this process, built from the configuration.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use embermesh_config::{CircuitBreaker, Provider as Entry, ProviderKind, Router};
use embermesh_proto::v1::CatalogModel;
use embermesh_providers::Connector;
use embermesh_resilience::{Breaker, BreakerSettings};

use crate::{account::Account, credential::Credential, deployment::Deployment, pace::Pace};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// What latencies and success rates are measured over.
const MEASURED_OVER: Duration = Duration::from_secs(60);

/// Every deployment, in the order of the entries' names.
#[derive(Debug)]
pub(crate) struct Deployments {
    accounts: Vec<Arc<Account>>,
    /// Of breakers that are made from now on.
    breaker: Mutex<BreakerSettings>,
    most_calls: u32,
}

impl Deployments {
    /// Builds what the entries describe. An entry that cannot be used is logged and left out: one bad provider does not take the
    /// others down. `pace` makes the rate limit of an entry.
    pub fn build(
        entries: &BTreeMap<String, Entry>,
        breaker: CircuitBreaker,
        router: &Router,
        connector: &Connector,
        has_local: bool,
        pace: impl Fn(&str, &Entry) -> Option<Pace>,
    ) -> Self {
        let breaker = settings(breaker);
        let mut entries = entries.clone();
        if has_local && !entries.values().any(|e| e.kind == Some(ProviderKind::Local)) {
            entries.entry("local".to_owned()).or_default();
        }
        let mut accounts = Vec::new();
        for (name, entry) in entries.iter().filter(|(_, entry)| entry.enabled != Some(false)) {
            let Some(kind) = entry.kind.or_else(|| ProviderKind::named(name)) else {
                tracing::error!(provider = name, "provider is left out: give its kind");
                continue;
            };
            match connector.connect(kind, entry) {
                Ok(provider) => accounts.push(Arc::new(Account {
                    name: name.as_str().into(),
                    kind,
                    timeout: entry.timeout.map_or(DEFAULT_TIMEOUT, |span| span.0),
                    provider,
                    host: Arc::new(Breaker::new(breaker, seed(name))),
                    credential: Credential::default(),
                    pace: pace(name, entry),
                    most_tokens_at_once: entry
                        .rate_limit
                        .and_then(|limit| limit.tokens_per_minute)
                        .map_or(u64::MAX, |tokens| (tokens / 10).max(1)),
                    models: entry.models.clone(),
                    model_names: entry.model_names.clone(),
                    deployments: Default::default(),
                })),
                Err(reason) => tracing::warn!(provider = name, %reason, "provider is left out"),
            }
        }
        Self { accounts, breaker: Mutex::new(breaker), most_calls: router.max_concurrent_calls.max(1) }
    }

    /// Whether any entry serves `model`.
    pub fn serve(&self, model: &CatalogModel) -> bool {
        self.accounts.iter().any(|account| account.serves(model))
    }

    /// The deployments of `model`.
    pub fn of(&self, model: &CatalogModel) -> Vec<Arc<Deployment>> {
        let serving = self.accounts.iter().filter(|account| account.serves(model));
        serving.map(|account| self.deployment(account, model)).collect()
    }

    /// The deployment of `model` at `account`.
    pub fn deployment(&self, account: &Arc<Account>, model: &CatalogModel) -> Arc<Deployment> {
        account.deployment(model, || {
            let name = format!("{}/{}", account.name, model.id);
            let breaker = Breaker::new(*self.breaker(), seed(&name));
            Deployment::new(Arc::clone(account), &model.id, breaker, MEASURED_OVER, self.most_calls)
        })
    }

    /// Lets every breaker go by other settings.
    pub fn configure(&self, breaker: CircuitBreaker) {
        let settings = settings(breaker);
        *self.breaker() = settings;
        // a deployment that is made meanwhile is made under the lock that this waits for, by the one settings or the other
        for account in &self.accounts {
            account.host.configure(settings);
            for deployment in account.used() {
                deployment.breaker.configure(settings);
            }
        }
    }

    fn breaker(&self) -> MutexGuard<'_, BreakerSettings> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn accounts(&self) -> &[Arc<Account>] {
        &self.accounts
    }

    /// The deployments that were used so far.
    pub fn used(&self) -> Vec<Arc<Deployment>> {
        self.accounts.iter().flat_map(|account| account.used()).collect()
    }
}

fn settings(breaker: CircuitBreaker) -> BreakerSettings {
    BreakerSettings {
        failure_threshold: breaker.failure_threshold,
        success_threshold: breaker.success_threshold,
        open: breaker.timeout.0,
        window: breaker.window.0,
        minimum_calls: breaker.minimum_calls,
        failure_rate: breaker.failure_rate,
        minimum_failure_rate: breaker.minimum_failure_rate,
        slow_call_rate: breaker.slow_call_rate,
        slow_call: breaker.slow_call_duration.0,
        half_open_calls: breaker.half_open_calls,
        ramp: breaker.ramp.0,
    }
}

/// Breakers of different names should not come back in the same instant.
fn seed(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    std::process::id().hash(&mut hasher);
    hasher.finish()
}
