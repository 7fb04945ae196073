//! Builds the service from its parts.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicUsize},
};

use embermesh_config::{Config, Embedding, UnusableKeys};
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_minilm::{LoadError, MiniLm};
use embermesh_proto::{
    internal::v1::{
        Section, config_client::ConfigClient, router_server::RouterServer, throttle_client::ThrottleClient,
    },
    v1::operations_server::OperationsServer,
};
use embermesh_providers::{Connector, Surroundings};
use embermesh_resilience::Flights;
use embermesh_subscription::{Options, Subscription};
use embermesh_telemetry::Metrics;
use embermesh_transport::{MAX_MESSAGE_BYTES, Transport};
use embermesh_types::Clock;

use crate::{
    account_builder::{AccountBuilder, MakePace},
    agent_limits::AgentLimits,
    attempts::{Attempts, retry_budgets},
    books::{Books, ledger_client},
    cache::Cache,
    canary,
    deployments::Deployments,
    domain::strategy::Strategy,
    embed::Embedder,
    escrow::Escrow,
    fetch::Fetcher,
    following,
    freshness::{self, Freshness},
    groups::Groups,
    grpc::Grpc,
    hits::{Destination, Hits},
    kept::Kept,
    key_makers::KeyMakers,
    metrics::{JournalMetrics, RouterMetrics},
    operations::OperationsGrpc,
    pace::{Burst, Pace},
    pins::Pins,
    proofs::Proofs,
    quotas::Quotas,
    resolve::Resolver,
    suspicion::Suspicions,
    tiers::Tiers,
    tokenizers::Tokenizers,
    tuning::{self, Tuned},
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
    /// To vector-store, for what all routers share in Redis.
    pub store: Transport,
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
    /// The keys for providers' credentials cannot be used.
    #[error("{0}")]
    SealingKeys(#[from] UnusableKeys),
    /// `embedding.router.selection_strategy` names no strategy.
    #[error("embedding.router.selection_strategy: {0}")]
    Strategy(String),
    /// A metric is declared wrongly.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A task died.
    #[error("loading the local model was cut off")]
    CutOff,
}

/// The running router.
#[derive(Debug, Clone)]
pub struct ProviderRouter {
    router: Grpc,
    operations: OperationsGrpc,
}

impl ProviderRouter {
    /// Loads the local model where its weights are configured, connects the providers, and follows the configuration.
    pub async fn start(config: &Config, parts: Parts) -> Result<Self, StartError> {
        let Embedding { circuit_breaker, router, security, .. } = &config.embedding;
        let local = match router.local_model_dir.clone() {
            None => None,
            Some(dir) => Some(load(dir).await?),
        };
        let strategy: Strategy =
            router.selection_strategy.parse().map_err(|e| StartError::Strategy(format!("{e}")))?;
        let subscription = subscribe(config, &parts);
        let metrics = RouterMetrics::new(&parts.metrics)?;
        let google_credentials = std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
        let surroundings =
            Surroundings { clock: parts.clock.clone(), tasks: parts.tasks.clone(), google_credentials };
        let connector = Connector::new(local.clone())?.within(surroundings);
        let throttle = ThrottleClient::new(parts.store.clone());
        let builder = AccountBuilder {
            connector,
            pace: pace_maker(router.replicas, throttle.clone(), parts.tasks.clone()),
            security: security.clone(),
            keys: security.sealing_keys()?,
        };
        let deployments =
            Deployments::new(config.embedding.all_providers(), *circuit_breaker, router, builder);
        // what came from disk is in force before anybody asks
        deployments.follow(&subscription.current());
        let deployments = Arc::new(deployments);
        let ttl = config.redis.cache_strategies.embeddings.ttl.unwrap_or(router.cache_ttl).0;
        let freshness = Arc::new(Freshness::new(ttl));
        let tiers = Tiers {
            // kept beyond its time for agents that prefer an old one to a failure, and for emergencies; the size is bounded
            memory: Cache::new(
                router.cache_size_mib.saturating_mul(1024 * 1024),
                ttl.max(freshness::LONGEST),
            ),
            redis: Kept::new(parts.store.clone()),
            suspicions: Arc::new(Suspicions::default()),
            metrics: metrics.clone(),
            tasks: parts.tasks.clone(),
            clock: parts.clock.clone(),
            freshness: Arc::clone(&freshness),
        };
        let tuned =
            Tuned { freshness, deployments: Arc::clone(&deployments), ttl, breaker: *circuit_breaker };
        parts.tasks.spawn("tuning", tuning::run(tuned, subscription.clone(), parts.tasks.clone()));
        let interval = router.canary_interval.0;
        let proofs = Arc::new(Proofs::new(interval, subscription.clone(), parts.admin.clone()));
        let books = books(config, &parts, &subscription, &metrics)?;
        let attempts = Arc::new(Attempts {
            books,
            tiers: tiers.clone(),
            tokenizers: Tokenizers::new(local),
            metrics,
            clock: parts.clock.clone(),
            deployments: Arc::clone(&deployments),
            proofs,
            tasks: parts.tasks.clone(),
            turn: AtomicUsize::new(0),
            retries: retry_budgets(),
        });
        if !interval.is_zero() {
            parts.tasks.spawn("canary", canary::run(Arc::clone(&attempts), subscription.clone(), interval));
        }
        let ready = parts.readiness.condition("router providers");
        let follow = following::run(Arc::clone(&attempts), subscription.clone(), ready);
        parts.tasks.spawn("configuration", follow);
        let embedder = Arc::new(Embedder {
            resolver: Resolver {
                subscription: subscription.clone(),
                deployments,
                pins: Pins::new(parts.admin.clone()),
                default_models: router.default_models.clone(),
                clock: parts.clock,
            },
            fetcher: Fetcher {
                key_makers: KeyMakers::default(),
                tokenizers: attempts.tokenizers.clone(),
                tiers,
                flights: Flights::new(),
                subscription,
                groups: Arc::new(Groups::new(Arc::clone(&attempts))),
            },
            attempts,
            agent_limits: AgentLimits::new(router.replicas, throttle, parts.tasks),
            strategy,
        });
        let operations =
            OperationsGrpc { embedder: Arc::clone(&embedder), admin: ConfigClient::new(parts.admin) };
        Ok(Self { router: Grpc(embedder), operations })
    }

    /// The internal service.
    pub fn router_server(
        &self,
    ) -> RouterServer<impl embermesh_proto::internal::v1::router_server::Router + use<>> {
        RouterServer::new(self.router.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The same for callers in this process.
    pub fn router(&self) -> Arc<dyn embermesh_proto::internal::v1::router_server::Router> {
        Arc::new(self.router.clone())
    }

    /// The public operations that the router answers.
    pub fn operations_server(
        &self,
    ) -> OperationsServer<impl embermesh_proto::v1::operations_server::Operations + use<>> {
        OperationsServer::new(self.operations.clone())
    }
}

/// Makes the rate limits of provider entries.
fn pace_maker(replicas: u32, throttle: ThrottleClient<Transport>, tasks: Tasks) -> MakePace {
    Box::new(move |name, limit| {
        Pace::new(&format!("provider:{name}"), limit, Burst::Tenth, replicas, &throttle, &tasks)
    })
}

/// Leases and a journal where there is a place for them; else the ledger is asked for every call.
fn books(
    config: &Config,
    parts: &Parts,
    subscription: &Subscription,
    metrics: &RouterMetrics,
) -> Result<Books, StartError> {
    let ledger = ledger_client(&parts.ledger);
    let (tasks, clock) = (&parts.tasks, parts.clock.clone());
    let escrow = match config.data_dir.as_deref().map(|dir: &Path| dir.join("journal")) {
        None => None,
        Some(dir) => {
            let metrics = JournalMetrics::new(&parts.metrics)?;
            let started = Escrow::start(dir, &parts.ledger, subscription.clone(), clock, &metrics, tasks);
            let failed = |error: &std::io::Error| {
                tracing::error!(%error, "no journal can be kept in data_dir, the ledger is asked for every call");
            };
            started.inspect_err(failed).ok()
        }
    };
    let destination = match &escrow {
        Some(escrow) => Destination::Journal(Arc::clone(&escrow.leases.journal)),
        None => Destination::Ledger(ledger.clone()),
    };
    let hits = Hits::start(destination, tasks);
    let leases = escrow.as_ref().map(|escrow| Arc::clone(&escrow.leases));
    let quotas =
        Quotas::new(ledger.clone(), subscription.clone(), parts.clock.clone(), tasks.clone(), leases);
    let reservations = metrics.reservations.clone();
    Ok(Books { ledger, hits, tasks: tasks.clone(), reservations, escrow, quotas })
}

/// Follows the configuration.
fn subscribe(config: &Config, parts: &Parts) -> Subscription {
    let sections = vec![
        Section::Agents,
        Section::Catalog,
        Section::Pins,
        Section::References,
        Section::Breakers,
        Section::Budgets,
        Section::Settings,
        Section::Tenants,
        Section::Providers,
        Section::CacheClears,
    ];
    let disk_copy = config.data_dir.as_deref().map(|dir: &Path| dir.join("router.snapshot"));
    let condition = Some("router configuration");
    let options = Options { subscriber: "provider-router", condition, sections, disk_copy };
    let Parts { tasks, readiness, metrics, admin, .. } = parts;
    let surroundings = embermesh_subscription::Surroundings { tasks, readiness, metrics };
    Subscription::start(admin.clone(), options, &surroundings)
}

async fn load(dir: std::path::PathBuf) -> Result<Arc<MiniLm>, StartError> {
    let loading = tokio::task::spawn_blocking(move || MiniLm::load(&dir));
    Ok(Arc::new(loading.await.map_err(|_| StartError::CutOff)??))
}
