//! Builds the service from its parts.

use std::{path::Path, sync::Arc};

use embermesh_config::{Config, Embedding};
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_minilm::{LoadError, MiniLm};
use embermesh_proto::{
    internal::v1::{Section, config_client::ConfigClient, router_server::RouterServer},
    v1::operations_server::OperationsServer,
};
use embermesh_subscription::{Options, Subscription};
use embermesh_telemetry::Metrics;
use embermesh_transport::{MAX_MESSAGE_BYTES, Transport};
use embermesh_types::Clock;

use crate::{
    attempts::Attempts, books::Books, cache::Cache, deployment::Deployments, embed::Embedder, grpc::Grpc,
    metrics::RouterMetrics, pins::Pins, tokenizers::Tokenizers,
};

/// What the router is built from.
#[derive(Debug)]
pub struct Parts {
    /// For background tasks.
    pub tasks: Tasks,
    /// For what has to be ready.
    pub readiness: Readiness,
    /// For metric handles.
    pub metrics: Metrics,
    /// Time.
    pub clock: Clock,
    /// To cost-ledger.
    pub ledger: Transport,
    /// To admin.
    pub admin: Transport,
}

/// Why the router cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The local model cannot be loaded.
    #[error("the local model cannot be used: {0}")]
    LocalModel(#[from] LoadError),
    /// The machine's certificate authorities cannot be read, or a thread cannot be had.
    #[error("providers cannot be set up: {0}")]
    Providers(#[from] std::io::Error),
    /// A metric is declared wrongly.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A task died.
    #[error("loading the local model was cut off")]
    CutOff,
}

/// The running router.
#[derive(Debug, Clone)]
pub struct ProviderRouter(Grpc);

impl ProviderRouter {
    /// Loads the local model where its weights are configured, connects the providers, and follows the configuration.
    pub async fn start(config: &Config, parts: Parts) -> Result<Self, StartError> {
        let Embedding { providers, circuit_breaker, router, .. } = &config.embedding;
        let local = match router.local_model_dir.clone() {
            None => None,
            Some(dir) => Some(load(dir).await?),
        };
        let sections = vec![Section::Agents, Section::Catalog, Section::Pins];
        let disk_copy = config.data_dir.as_deref().map(|dir: &Path| dir.join("router.snapshot"));
        let options = Options { subscriber: "provider-router", sections, disk_copy };
        let admin = ConfigClient::new(parts.admin.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let ready = parts.readiness.condition("router configuration");
        let ttl = config.redis.cache_strategies.embeddings.ttl.unwrap_or(router.cache_ttl);
        let embedder = Embedder {
            subscription: Subscription::start(admin, options, &parts.tasks, ready),
            deployments: Deployments::build(providers, *circuit_breaker, local.as_ref())?,
            default_models: router.default_models.clone(),
            cache: Cache::new(router.cache_size_mib * 1024 * 1024, ttl.0),
            pins: Pins::new(parts.admin),
            attempts: Arc::new(Attempts {
                books: Books::new(parts.ledger, parts.tasks.clone()),
                tokenizers: Tokenizers::new(local),
                metrics: RouterMetrics::new(&parts.metrics)?,
                clock: parts.clock,
            }),
            tasks: parts.tasks,
        };
        Ok(Self(Grpc(Arc::new(embedder))))
    }

    /// The internal service.
    pub fn router_server(
        &self,
    ) -> RouterServer<impl embermesh_proto::internal::v1::router_server::Router + use<>> {
        RouterServer::new(self.0.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The public operations that the router answers.
    pub fn operations_server(
        &self,
    ) -> OperationsServer<impl embermesh_proto::v1::operations_server::Operations + use<>> {
        OperationsServer::new(self.0.clone())
    }
}

async fn load(dir: std::path::PathBuf) -> Result<Arc<MiniLm>, StartError> {
    let loading = tokio::task::spawn_blocking(move || MiniLm::load(&dir));
    Ok(Arc::new(loading.await.map_err(|_| StartError::CutOff)??))
}
