//! Every deployment of this process: of the configuration file's entries, and of those that came over the API, as the stream has them.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use embermesh_config::{CircuitBreaker, Provider as Entry, ProviderKind, Router};
use embermesh_proto::v1::CatalogModel;
use embermesh_resilience::{Breaker, BreakerSettings};
use embermesh_subscription::Snapshot;

use crate::{
    account::Account,
    account_builder::{AccountBuilder, Unusable},
    deployment::Deployment,
    spec::Spec,
};

/// What latencies and success rates are measured over.
const MEASURED_OVER: Duration = Duration::from_secs(60);

/// Every deployment, in the order of the entries' names. Requests see the entries of one moment; those that go are let go when the
/// last call to them has ended.
#[derive(Debug)]
pub(crate) struct Deployments {
    accounts: ArcSwap<Vec<Arc<Account>>>,
    refused: ArcSwap<Vec<Arc<Refused>>>,
    /// Of the configuration file.
    file: BTreeMap<String, Arc<Entry>>,
    builder: AccountBuilder,
    /// Of breakers that are made from now on.
    breaker: Mutex<BreakerSettings>,
    /// Held while accounts come and go, and while their breakers are given other settings.
    changing: Mutex<()>,
    most_calls: u32,
}

/// An entry that makes no provider.
#[derive(Debug)]
pub(crate) struct Refused {
    pub name: Arc<str>,
    pub reason: String,
    kind: Option<ProviderKind>,
    models: Option<Vec<String>>,
    spec: Spec,
}

impl Refused {
    /// Whether it would give vectors of `model`.
    fn would_serve(&self, model: &CatalogModel) -> bool {
        let of_kind =
            self.kind.is_some_and(|kind| model.provider_kinds.iter().any(|name| name == kind.as_str()));
        of_kind && self.models.as_ref().is_none_or(|ids| ids.contains(&model.id))
    }
}

impl Deployments {
    /// Knows the entries of the configuration file; [`Self::follow`] makes providers of them.
    pub fn new(
        file: BTreeMap<String, Entry>,
        breaker: CircuitBreaker,
        router: &Router,
        builder: AccountBuilder,
    ) -> Self {
        Self {
            accounts: ArcSwap::default(),
            refused: ArcSwap::default(),
            file: file.into_iter().map(|(name, entry)| (name, Arc::new(entry))).collect(),
            builder,
            breaker: Mutex::new(settings(breaker)),
            changing: Mutex::default(),
            most_calls: router.max_concurrent_calls.max(1),
        }
    }

    /// Brings the accounts to what the file and the stream say: what has not changed stays as it is, calls to what has go on as they
    /// began. An entry that cannot be used is logged and left out: one bad provider does not take the others down. One task calls
    /// this.
    pub fn follow(&self, snapshot: &Snapshot) {
        let _changing = self.changing();
        let breaker = *self.breaker();
        let (before, refused_before) = (self.accounts.load_full(), self.refused.load_full());
        let (mut accounts, mut refused) = (Vec::new(), Vec::new());
        for (name, spec) in self.wanted(snapshot) {
            let held = before.iter().find(|account| *account.name == *name);
            if let Some(held) = held.filter(|held| held.spec.is(&spec)) {
                accounts.push(Arc::clone(held));
                continue;
            }
            if let Some(known) = refused_before.iter().find(|one| *one.name == *name && one.spec.is(&spec)) {
                refused.push(Arc::clone(known));
                continue;
            }
            match self.builder.build(&name, &spec, held.map(|held| &**held), breaker) {
                Ok(account) => {
                    let account = Arc::new(account);
                    if let Some(held) = held.filter(|held| held.spec.is_same_place(&spec)) {
                        account.inherit(held);
                    }
                    if account.is_newcomer() {
                        tracing::info!(provider = name, "provider is in force");
                    }
                    accounts.push(account);
                }
                Err(Unusable { reason, kind, models }) => {
                    tracing::warn!(provider = name, reason, "provider is left out");
                    refused.push(Arc::new(Refused { name: name.into(), reason, kind, models, spec }));
                }
            }
        }
        for gone in before.iter().filter(|held| accounts.iter().all(|account| account.name != held.name)) {
            tracing::info!(provider = %gone.name, "provider is out of force");
        }
        let accounts = Arc::new(accounts);
        self.refused.store(Arc::new(refused));
        self.accounts.store(Arc::clone(&accounts));
        let gone = before.iter().filter(|held| accounts.iter().all(|account| !Arc::ptr_eq(account, held)));
        gone.for_each(|account| account.retire());
    }

    /// What should be in force, by name. An entry of the file goes before one of the stream.
    fn wanted(&self, snapshot: &Snapshot) -> BTreeMap<String, Spec> {
        let mut wanted: BTreeMap<String, Spec> = BTreeMap::new();
        let mut switched: BTreeMap<&str, bool> = BTreeMap::new();
        for provider in snapshot.providers() {
            let Some(entry) = &provider.entry else { continue };
            if entry.source == "file" {
                switched.insert(&entry.name, entry.enabled);
            } else if entry.enabled && !self.file.contains_key(&entry.name) {
                wanted.insert(entry.name.clone(), Spec::Streamed(Arc::clone(provider)));
            }
        }
        for (name, entry) in &self.file {
            if switched.get(name.as_str()).copied().unwrap_or(entry.enabled != Some(false)) {
                wanted.insert(name.clone(), Spec::File(Arc::clone(entry)));
            }
        }
        wanted
    }

    /// Whether any entry serves `model`.
    pub fn serve(&self, model: &CatalogModel) -> bool {
        self.accounts.load().iter().any(|account| account.serves(model))
    }

    /// The deployments of `model`.
    pub fn of(&self, model: &CatalogModel) -> Vec<Arc<Deployment>> {
        let accounts = self.accounts.load();
        let serving = accounts.iter().filter(|account| account.serves(model));
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
        let _changing = self.changing();
        *self.breaker() = settings;
        // a deployment that is made meanwhile is made under the lock that this waits for, by the one settings or the other
        for account in &*self.accounts() {
            account.host.configure(settings);
            for deployment in account.used() {
                deployment.breaker.configure(settings);
            }
        }
    }

    fn breaker(&self) -> MutexGuard<'_, BreakerSettings> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn accounts(&self) -> Arc<Vec<Arc<Account>>> {
        self.accounts.load_full()
    }

    /// Entries of the stream that make no provider.
    pub fn refused(&self) -> Vec<Arc<Refused>> {
        let streamed = |one: &&Arc<Refused>| matches!(one.spec, Spec::Streamed(_));
        self.refused.load().iter().filter(streamed).cloned().collect()
    }

    /// Those of them that would serve `model`.
    pub fn refused_for(&self, model: &CatalogModel) -> Vec<Arc<Refused>> {
        let mut refused = self.refused();
        refused.retain(|one| one.would_serve(model));
        refused
    }

    /// The deployments that were used so far.
    pub fn used(&self) -> Vec<Arc<Deployment>> {
        self.accounts.load().iter().flat_map(|account| account.used()).collect()
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
pub(crate) fn seed(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    std::process::id().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
