//! A provider entry of the configuration: one credential at one place, whatever the models behind it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use embermesh_config::ProviderKind;
use embermesh_proto::v1::CatalogModel;
use embermesh_providers::Provider;
use embermesh_resilience::Breaker;

use crate::{credential::Credential, deployment::Deployment, hashing::HashMap, pace::Pace, spec::Spec};

/// One credential at one place.
#[derive(Debug)]
pub(crate) struct Account {
    /// The entry's name in the configuration.
    pub name: Arc<str>,
    pub kind: ProviderKind,
    /// What it was made from.
    pub spec: Spec,
    /// How long a call may take.
    pub timeout: Duration,
    pub provider: Arc<dyn Provider>,
    /// Fed by failures to connect alone: they are the host's, not a model's.
    pub host: Arc<Breaker>,
    pub credential: Credential,
    /// Absent: the operator has set no limit.
    pub pace: Option<Pace>,
    /// Of `pace`: what a call may carry without waiting for a minute's worth.
    pub most_tokens_at_once: u64,
    /// Catalog ids; absent: all of the kind.
    pub models: Option<Vec<String>>,
    /// The provider's own names, by catalog id.
    pub model_names: BTreeMap<String, String>,
    pub deployments: RwLock<HashMap<String, Arc<Deployment>>>,
    /// Out of force: it keeps no deployment, because each keeps it.
    pub retired: AtomicBool,
}

impl Account {
    /// Whether it gives vectors of `model`.
    pub fn serves(&self, model: &CatalogModel) -> bool {
        let of_kind = model.provider_kinds.iter().any(|kind| kind == self.kind.as_str());
        of_kind && self.models.as_ref().is_none_or(|ids| ids.contains(&model.id))
    }

    /// Came while the process ran: its vectors have to be shown to be those of their spaces even where nobody else serves them, because
    /// somebody else may have before.
    pub fn is_newcomer(&self) -> bool {
        matches!(self.spec, Spec::Streamed(_))
    }

    /// Goes on with what `before` knows of its deployments: the same models at the same place.
    pub fn inherit(self: &Arc<Self>, before: &Account) {
        let served = |model: &str| self.models.as_ref().is_none_or(|ids| ids.iter().any(|id| id == model));
        let heirs = before
            .used()
            .into_iter()
            .filter(|deployment| served(&deployment.model))
            .map(|deployment| (deployment.model.to_string(), Arc::new(deployment.at(Arc::clone(self)))));
        self.deployments.write().unwrap_or_else(PoisonError::into_inner).extend(heirs);
    }

    /// What this provider calls `model`.
    pub fn name_of<'a>(&'a self, model: &'a CatalogModel) -> &'a str {
        self.model_names
            .get(&model.id)
            .or_else(|| model.provider_names.get(self.kind.as_str()))
            .unwrap_or(&model.id)
    }

    /// The deployment of `model` here, made at its first use.
    pub fn deployment(
        self: &Arc<Self>,
        model: &CatalogModel,
        make: impl FnOnce() -> Deployment,
    ) -> Arc<Deployment> {
        let known = self.deployments.read().unwrap_or_else(PoisonError::into_inner).get(&model.id).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.deployments.write().unwrap_or_else(PoisonError::into_inner);
            if self.retired.load(Ordering::Relaxed) {
                // for a request that began before
                return Arc::new(make());
            }
            Arc::clone(all.entry(model.id.clone()).or_insert_with(|| Arc::new(make())))
        })
    }

    /// Lets go of its deployments, so that it ends with the last call to them.
    pub fn retire(&self) {
        let mut all = self.deployments.write().unwrap_or_else(PoisonError::into_inner);
        self.retired.store(true, Ordering::Relaxed);
        all.clear();
    }

    /// The deployments that were used so far.
    pub fn used(&self) -> Vec<Arc<Deployment>> {
        let all = self.deployments.read().unwrap_or_else(PoisonError::into_inner);
        let mut used: Vec<_> = all.values().cloned().collect();
        used.sort_by(|a, b| a.name.cmp(&b.name));
        used
    }
}
