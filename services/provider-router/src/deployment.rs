//! The deployments of this process: a provider, a credential and an endpoint each, built from the configuration.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_config::{CircuitBreaker, Provider as Entry, ProviderKind};
use embermesh_minilm::{MiniLm, Pool};
use embermesh_proto::v1::CatalogModel;

use crate::{
    health::Health,
    providers::{Provider, http::HttpClient, local::Local, openai::OpenAi},
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// A way to get vectors.
pub(crate) struct Deployment {
    /// The entry's name in the configuration.
    pub name: Arc<str>,
    pub kind: ProviderKind,
    pub timeout: Duration,
    pub health: Health,
    pub provider: Box<dyn Provider>,
    /// Catalog ids; absent: all of the kind.
    models: Option<Vec<String>>,
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Deployment {
    /// Whether it gives vectors of `model`.
    pub fn serves(&self, model: &CatalogModel) -> bool {
        let of_kind = model.provider_kinds.iter().any(|kind| kind == self.kind.as_str());
        of_kind && self.models.as_ref().is_none_or(|ids| ids.contains(&model.id))
    }
}

/// Every deployment, in the order of their names.
#[derive(Debug)]
pub(crate) struct Deployments(Vec<Arc<Deployment>>);

impl Deployments {
    /// Builds what the entries describe. An entry that cannot be used is logged and left out: one bad provider does not take the
    /// others down.
    pub fn build(
        entries: &BTreeMap<String, Entry>,
        breaker: CircuitBreaker,
        local: Option<&Arc<MiniLm>>,
    ) -> std::io::Result<Self> {
        let client = HttpClient::new()?;
        let mut entries = entries.clone();
        if local.is_some() && !entries.values().any(|e| e.kind == Some(ProviderKind::Local)) {
            entries.entry("local".to_owned()).or_default();
        }
        let mut deployments = Vec::new();
        for (name, entry) in entries.iter().filter(|(_, entry)| entry.enabled != Some(false)) {
            let Some(kind) = entry.kind.or_else(|| ProviderKind::named(name)) else {
                tracing::error!(provider = name, "provider is left out: give its kind");
                continue;
            };
            match connect(kind, entry, &client, local) {
                Ok(provider) => deployments.push(Arc::new(Deployment {
                    name: name.as_str().into(),
                    kind,
                    timeout: entry.timeout.map_or(DEFAULT_TIMEOUT, |span| span.0),
                    health: Health::new(breaker),
                    provider,
                    models: entry.models.clone(),
                })),
                Err(reason) => tracing::warn!(provider = name, reason, "provider is left out"),
            }
        }
        Ok(Self(deployments))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.0.iter()
    }

    /// The deployments of one model's space, those that may be called now first.
    pub fn candidates(&self, model: &CatalogModel, now: Instant) -> Vec<Arc<Deployment>> {
        let mut found: Vec<_> = self.0.iter().filter(|d| d.serves(model)).cloned().collect();
        found.sort_by_key(|deployment| !deployment.health.is_callable(now));
        found
    }
}

fn connect(
    kind: ProviderKind,
    entry: &Entry,
    client: &HttpClient,
    local: Option<&Arc<MiniLm>>,
) -> Result<Box<dyn Provider>, String> {
    let key = entry.api_key.as_ref().map(|key| key.reveal());
    match kind {
        ProviderKind::OpenAi if key.is_none() && entry.base_url.is_none() => {
            Err("it has no api_key".to_owned())
        }
        ProviderKind::OpenAi => match OpenAi::new(client.clone(), entry.base_url.as_deref(), key) {
            Ok(provider) => Ok(Box::new(provider)),
            Err(error) => Err(error.to_string()),
        },
        ProviderKind::Local => {
            let model = local.ok_or("the weights are not there, run scripts/setup.sh")?;
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let pool = Pool::start(Arc::clone(model), threads)
                .map_err(|e| format!("cannot start its threads: {e}"))?;
            Ok(Box::new(Local(pool)))
        }
        other => Err(format!("this version cannot serve the kind {}", other.as_str())),
    }
}
