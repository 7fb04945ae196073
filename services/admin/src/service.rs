//! Building the control plane from its parts.

use std::sync::Arc;

use embermesh_config::UnusableKeys;
use embermesh_errors::Error;
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_postgres::{Database, DbError, PoolMetrics, Role, Schema, migrate};
use embermesh_proto::{
    internal::v1::{
        api_calls_server::{ApiCalls, ApiCallsServer},
        config_server::ConfigServer,
        key_use_server::KeyUseServer,
    },
    v1::{
        AuditVerified, agents_server::AgentsServer, audit_server::AuditServer, budgets_server::BudgetsServer,
        catalog_server::CatalogServer, keys_server::KeysServer, policies_server::PoliciesServer,
        providers_server::ProvidersServer, settings_server::SettingsServer, tenants_server::TenantsServer,
    },
};
use embermesh_sealing::Keys;
use embermesh_telemetry::Metrics;
use embermesh_transport::MAX_MESSAGE_BYTES;
use embermesh_types::{Clock, SpaceId};
use secrecy::SecretString;

use crate::{
    Handler, Settings,
    anchoring::{Anchoring, AnchoringError},
    domain::{rotation::LONGEST_OVERLAP, shipped::Release},
    feed::Feed,
    metrics::{AdminMetrics, KeyMetrics},
    retention::Retention,
    rotation::AutomaticRotation,
    store::{self, Store},
};

/// What the control plane needs from its process.
#[derive(Debug)]
pub struct Parts {
    /// PostgreSQL; the user must be able to create the schema `admin` or own it.
    pub database_url: SecretString,
    /// For background tasks.
    pub tasks: Tasks,
    /// For the condition that the database is there.
    pub readiness: Readiness,
    /// For the metrics.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
}

/// Why the control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database failed.
    #[error("admin: {0}")]
    Database(#[from] DbError),
    /// The catalog that is built in is broken.
    #[error("admin: the built-in catalog cannot be read: {0}")]
    Catalog(#[from] serde_json::Error),
    /// A metric is named badly.
    #[error("admin: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The audit chains cannot be anchored as configured.
    #[error("admin: {0}")]
    Anchoring(#[from] AnchoringError),
    /// The keys for providers' credentials cannot be used.
    #[error("admin: {0}")]
    SealingKeys(#[from] UnusableKeys),
    /// A setting cannot be used.
    #[error("embedding.security.api_key_rotation.overlap can be at most 7d")]
    Overlap,
    /// A setting cannot be used.
    #[error("admin: key_environment must have 1 to 16 lowercase letters")]
    KeyEnvironment,
}

/// The running control plane. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AdminService(Arc<Shared>);

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) feed: Arc<Feed>,
    pub(crate) anchoring: Arc<Anchoring>,
    pub(crate) retention: Arc<Retention>,
    pub(crate) rotation: Arc<AutomaticRotation>,
    /// Absent: providers' credentials are refused.
    pub(crate) sealing: Option<Keys>,
    pub(crate) metrics: AdminMetrics,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

impl AdminService {
    /// Migrates the schema, completes the catalog, and follows changes from then on.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(settings: Settings, parts: Parts) -> Result<Self, StartError> {
        let Parts { database_url, tasks, readiness, metrics, clock } = parts;
        let environment = &settings.key_environment;
        if !(1..=16).contains(&environment.len()) || !environment.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(StartError::KeyEnvironment);
        }
        if settings.security.api_key_rotation.overlap.0 > LONGEST_OVERLAP {
            return Err(StartError::Overlap);
        }
        let sealing = settings.security.sealing_keys()?;
        let anchoring = Arc::new(Anchoring::open(&settings, &metrics)?);
        let ready = readiness.condition("admin database");
        migrate(&database_url, Schema::Admin, &store::MIGRATIONS).await?;
        let database = Database::connect(&database_url, Schema::Admin, Role::App, &settings.pool).await?;
        let store = Store::new(database.clone());
        store.ship(&store::shipped::seed()?, Release::current(), clock.now()).await?;
        let key_metrics = KeyMetrics::new(&metrics)?;
        let pool = PoolMetrics::new(&metrics, Schema::Admin)?;
        let metrics = AdminMetrics::new(&metrics)?;
        let feed = Arc::new(Feed::new());
        let run =
            Arc::clone(&feed).run(store.version().await?, store.clone(), metrics.clone(), tasks.clone());
        tasks.spawn("config feed", run);
        let (settled, followed) = (settings.clone(), Arc::clone(&feed));
        let run = Arc::clone(&anchoring).run(settled, store.clone(), followed, clock.clone(), tasks.clone());
        tasks.spawn("audit anchors", run);
        let retention = Arc::new(Retention::new(settings.api_request_retention.0));
        let run = Arc::clone(&retention).run(store.clone(), clock.clone(), tasks.clone());
        tasks.spawn("api request partitions", run);
        let rotation = Arc::new(AutomaticRotation {
            settings: settings.security.api_key_rotation,
            store: store.clone(),
            feed: Arc::clone(&feed),
            metrics: key_metrics,
            clock: clock.clone(),
        });
        tasks.spawn("key rotation", Arc::clone(&rotation).run(tasks.clone()));
        let stopping = tasks.clone();
        tasks.spawn("admin pool", async move {
            tokio::select! {
                () = database.maintain() => {}
                never = pool.watch(&database) => match never {},
                () = stopping.stopping() => {}
            }
        });
        ready.set(true);
        Ok(Self(Arc::new(Shared {
            settings,
            store,
            feed,
            anchoring,
            retention,
            rotation,
            sealing,
            metrics,
            clock,
            tasks,
        })))
    }

    /// Verifies the record of changes of every tenant, as the API does of one.
    ///
    /// # Errors
    /// When the database or the file of anchors cannot be read.
    pub async fn verify_audit(&self) -> Result<AuditVerified, Error> {
        self.0.verify_all().await
    }

    /// Agents and their configuration.
    pub fn agents_server(&self) -> AgentsServer<Handler> {
        let server = AgentsServer::new(self.handler());
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// API keys.
    pub fn keys_server(&self) -> KeysServer<Handler> {
        let server = KeysServer::new(self.handler());
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The model catalog.
    pub fn catalog_server(&self) -> CatalogServer<Handler> {
        let server = CatalogServer::new(self.handler());
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Budgets.
    pub fn budgets_server(&self) -> BudgetsServer<Handler> {
        let server = BudgetsServer::new(self.handler());
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Tenants, for the operator.
    pub fn tenants_server(&self) -> TenantsServer<Handler> {
        let server = TenantsServer::new(self.handler());
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Policies about personal data.
    pub fn policies_server(&self) -> PoliciesServer<Handler> {
        let server = PoliciesServer::new(self.handler());
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Providers that came over the API.
    pub fn providers_server(&self) -> ProvidersServer<Handler> {
        let server = ProvidersServer::new(self.handler());
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Who changed what.
    pub fn audit_server(&self) -> AuditServer<Handler> {
        let server = AuditServer::new(self.handler());
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// What is turned at run time.
    pub fn settings_server(&self) -> SettingsServer<Handler> {
        SettingsServer::new(self.handler()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// When keys were last used, from the gateways.
    pub fn key_use_server(&self) -> KeyUseServer<Handler> {
        KeyUseServer::new(self.handler()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Which calls of the API there were, from the gateways.
    pub fn api_calls_server(&self) -> ApiCallsServer<Handler> {
        ApiCallsServer::new(self.handler()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The same for callers in this process.
    pub fn api_calls(&self) -> Arc<dyn ApiCalls> {
        Arc::new(self.handler())
    }

    /// The configuration stream, for the other services.
    pub fn config_server(&self) -> ConfigServer<Handler> {
        let server = ConfigServer::new(self.handler());
        server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Forgets the vectors that the space's deployments are held to; whether there were any. For an operator whose provider has
    /// changed a model for good: the next router records what the deployment answers now. Until then nothing tells whether
    /// deployments of the space agree, and vectors that are stored already may not be comparable with new ones.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn drop_reference(&self, space: &SpaceId) -> Result<bool, Error> {
        let dropped = self.0.store.drop_reference(space, self.0.clock.now()).await.map_err(store::failed)?;
        if dropped.is_some() {
            tracing::warn!(%space, "dropped the reference of a space");
            self.0.feed.wake();
        }
        Ok(dropped.is_some())
    }

    /// Does at once what is otherwise done every half minute: makes keys due for rotation, and ends those whose successors are in use.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn look_after_keys(&self) -> Result<(), Error> {
        self.0.rotation.look().await.map_err(store::failed)
    }

    /// Does at once what is otherwise done every hour: makes the partitions that calls of the API need, and drops those that are too old.
    ///
    /// # Errors
    /// When the database is not available.
    pub async fn keep_api_requests(&self) -> Result<(), Error> {
        let shared = &self.0;
        shared.retention.keep_up(&shared.store, shared.clock.now()).await.map_err(store::failed)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    fn handler(&self) -> Handler {
        Handler::new(Arc::clone(&self.0))
    }
}
