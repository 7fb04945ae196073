//! Puts the gateway together.

use std::sync::Arc;

use axum::Router;
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_pii::Policy;
use embermesh_process::DebugHandler;
use embermesh_subscription::Subscription;
use embermesh_telemetry::Metrics;
use embermesh_transport::{GrpcMetrics, Ops, Transport};
use embermesh_types::Clock;

use crate::{
    Settings,
    api_calls::ApiCalls,
    backends::Upstreams,
    cache::Cache,
    debug::Debugger,
    edge::{self, EdgeParts},
    embeddings::{Costs, EmbeddingParts, Embeddings},
    key_use::{KeyUse, Reporting},
    migrations::Migrations,
    openai::OpenAi,
    provider_health,
    read_your_writes::ReadYourWrites,
    scrub::{ScrubError, Scrubbing},
};

/// What the gateway stands on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The provider router: embeds, and tells how providers are.
    pub router: Transport,
    /// The vector store.
    pub store: Transport,
    /// The cost ledger: reports.
    pub ledger: Transport,
    /// Admin: agents, keys and catalog; it is told which keys are used.
    pub admin: Transport,
    /// Keys, agents and catalog, in memory.
    pub subscription: Subscription,
    /// For what outlives a request.
    pub tasks: Tasks,
    /// Behind `/health/ready`.
    pub readiness: Readiness,
    /// Behind `/metrics`.
    pub metrics: Metrics,
    /// Counts gRPC calls; one for the process.
    pub grpc_metrics: GrpcMetrics,
    /// The time of day.
    pub clock: Clock,
}

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Personal data could not be scrubbed as configured.
    #[error(transparent)]
    Scrub(#[from] ScrubError),
    /// A defect in the name of a metric.
    #[error(transparent)]
    Metric(#[from] prometheus::Error),
    /// A setting cannot be used.
    #[error("gateway.api_requests.share must be above 0 and at most 1; `enabled: false` records nothing")]
    Share,
    /// A defect in the descriptors.
    #[error("the contracts cannot be described: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A gateway, ready to be served.
#[derive(Debug, Clone)]
pub struct Gateway {
    app: Router,
}

impl Gateway {
    /// Puts routes and services over `parts`.
    pub async fn start(settings: &Settings, parts: Parts) -> Result<Self, StartError> {
        let policy = Policy::try_from(settings.pii.clone()).map_err(ScrubError::Policy)?;
        let embeddings = EmbeddingParts {
            router: parts.router.clone(),
            store: parts.store.clone(),
            subscription: parts.subscription.clone(),
            scrubbing: Arc::new(Scrubbing::new(policy, &parts.metrics)?),
            costs: Costs::new(&parts.metrics)?,
            limits: settings.limits,
            tasks: parts.tasks.clone(),
        };
        let key_uses = KeyUse::new(&parts.clock);
        let to = Reporting {
            admin: parts.admin.clone(),
            subscription: parts.subscription.clone(),
            interval: settings.key_use_interval.0,
        };
        key_uses.report(to, parts.clock.clone(), &parts.tasks);
        if !settings.api_requests.is_valid() {
            return Err(StartError::Share);
        }
        let api_calls = ApiCalls::start(
            &settings.api_requests,
            settings.data_dir.as_deref(),
            parts.admin.clone(),
            &parts.metrics,
            &parts.tasks,
        )?;
        provider_health::start(
            parts.router.clone(),
            &settings.provider_health,
            &parts.metrics,
            &parts.tasks,
        )?;
        let debug = Debugger {
            own: DebugHandler::new(parts.tasks.clone()),
            others: [
                ("provider-router", parts.router.clone()),
                ("cost-ledger", parts.ledger.clone()),
                ("vector-store", parts.store.clone()),
                ("admin", parts.admin.clone()),
            ],
        };
        let migrations = Migrations::new(embeddings.clone(), parts.admin.clone(), parts.clock.clone());
        migrations.start(&settings.migrations, &parts.tasks);
        let edge = EdgeParts {
            migrations: Arc::new(migrations),
            openai: OpenAi::new(embeddings.clone()),
            embeddings: Arc::new(Embeddings::new(embeddings)),
            cache: Arc::new(Cache {
                admin: parts.admin.clone(),
                store: parts.store.clone(),
                subscription: parts.subscription.clone(),
            }),
            upstreams: Upstreams {
                store: parts.store,
                admin: ReadYourWrites::new(parts.admin, parts.subscription.clone()),
                ledger: parts.ledger,
                router: parts.router,
                debug: Arc::new(debug),
            },
            subscription: parts.subscription,
            key_uses,
            api_calls,
            tasks: parts.tasks,
            ops: Ops { readiness: parts.readiness, metrics: parts.metrics },
            grpc_metrics: parts.grpc_metrics,
            clock: parts.clock,
        };
        Ok(Self { app: edge::router(settings, edge).await? })
    }

    /// REST, the OpenAI-compatible routes, gRPC, health and metrics: everything that the gateway's port serves.
    pub fn app(&self) -> Router {
        self.app.clone()
    }
}
