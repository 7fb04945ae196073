//! Moving rows between embedding spaces: the operators' calls, and the workers that do it. The store holds all there is to know of a
//! migration; a worker that is gone leaves nothing behind but what it was just about to embed.

mod batch;
mod copying;
mod ending;
mod estimate;
mod pace;
mod run;
mod settings;
mod worker;

use std::sync::Arc;

use embermesh_errors::Error;
use embermesh_proto::{
    internal::v1::{
        ChangeMigrationRequest, CreateMigrationRequest, migration_store_client::MigrationStoreClient,
    },
    v1::{self, migrations_server},
};
use embermesh_transport::{CallContext, MAX_MESSAGE_BYTES, Transport};
use embermesh_types::Clock;
use tokio::sync::Notify;
use tonic::{Request, Response, Status};

pub use settings::MigrationSettings;

use self::estimate::Wanted;
use crate::{embeddings::EmbeddingParts, http::context};

/// Least agreement of the spaces where nobody says: models of different makers rarely agree on more than half of the ten nearest.
const DEFAULT_OVERLAP: f64 = 0.3;

/// Implements `embermesh.v1.Migrations`.
#[derive(Debug, Clone)]
pub(crate) struct Migrations {
    /// Embeds and stores.
    pub parts: EmbeddingParts,
    /// Moves pins.
    pub admin: Transport,
    /// The time of day.
    pub clock: Clock,
    wake: Arc<Notify>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Migrations {
    /// The service; its workers are started apart.
    pub fn new(parts: EmbeddingParts, admin: Transport, clock: Clock) -> Self {
        Self { parts, admin, clock, wake: Arc::default() }
    }

    fn store(&self) -> MigrationStoreClient<Transport> {
        MigrationStoreClient::new(self.parts.store.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn change(&self, context: &CallContext, change: ChangeMigrationRequest) -> Answer<v1::Migration> {
        let changed = self.store().change(context.request(change)).await?;
        self.wake.notify_waiters();
        Ok(Response::new(changed.into_inner()))
    }
}

/// What is to be done to a migration.
fn action(migration_id: &str, action: &str) -> ChangeMigrationRequest {
    ChangeMigrationRequest {
        migration_id: migration_id.to_owned(),
        action: action.to_owned(),
        ..ChangeMigrationRequest::default()
    }
}

#[tonic::async_trait]
impl migrations_server::Migrations for Migrations {
    async fn estimate_migration(
        &self,
        request: Request<v1::EstimateMigrationRequest>,
    ) -> Answer<v1::MigrationEstimate> {
        let context = context(request.extensions())?;
        Ok(Response::new(self.estimate(context, &Wanted::parse(request.get_ref(), context)?).await?))
    }

    async fn start_migration(&self, request: Request<v1::StartMigrationRequest>) -> Answer<v1::Migration> {
        let context = context(request.extensions())?;
        let asked = request.get_ref();
        let wanted = Wanted::parse(
            &v1::EstimateMigrationRequest {
                to_model: asked.to_model.clone(),
                to_dimensions: asked.to_dimensions,
                agent_id: asked.agent_id.clone(),
                from_space_id: asked.from_space_id.clone(),
                requests_per_minute: asked.requests_per_minute,
                tokens_per_minute: asked.tokens_per_minute,
            },
            context,
        )?;
        let estimate = self.estimate(context, &wanted).await?;
        if estimate.rows + estimate.rows_there == 0 {
            let nothing = format!("{} holds no rows to migrate", estimate.from_space_id);
            return Err(Error::invalid("from_space_id", nothing).into());
        }
        let create = CreateMigrationRequest {
            agent_id: estimate.agent_id.unwrap_or_default(),
            from_space_id: estimate.from_space_id,
            to_space_id: estimate.to_space_id,
            to_model: estimate.to_model,
            budget_nano_usd: asked.budget_nano_usd,
            requests_per_minute: estimate.requests_per_minute,
            tokens_per_minute: estimate.tokens_per_minute,
            on_too_long: asked.on_too_long.clone().unwrap_or_else(|| "error".to_owned()),
            min_overlap: asked.min_overlap.unwrap_or(DEFAULT_OVERLAP),
            estimated_rows: estimate.rows,
            estimated_tokens: estimate.tokens,
            estimated_cost_nano_usd: estimate.cost_nano_usd,
            rows_there: estimate.rows_there,
        };
        let created = self.store().create(context.request(create)).await?;
        self.wake.notify_waiters();
        Ok(Response::new(created.into_inner()))
    }

    async fn list_migrations(
        &self,
        request: Request<v1::ListMigrationsRequest>,
    ) -> Answer<v1::ListMigrationsResponse> {
        let context = context(request.extensions())?;
        Ok(Response::new(self.store().list(context.request(request.get_ref().clone())).await?.into_inner()))
    }

    async fn get_migration(&self, request: Request<v1::GetMigrationRequest>) -> Answer<v1::Migration> {
        let context = context(request.extensions())?;
        Ok(Response::new(self.store().get(context.request(request.get_ref().clone())).await?.into_inner()))
    }

    async fn list_migration_failures(
        &self,
        request: Request<v1::ListMigrationFailuresRequest>,
    ) -> Answer<v1::ListMigrationFailuresResponse> {
        let context = context(request.extensions())?;
        let failures = self.store().list_failures(context.request(request.get_ref().clone())).await?;
        Ok(Response::new(failures.into_inner()))
    }

    async fn pause_migration(&self, request: Request<v1::PauseMigrationRequest>) -> Answer<v1::Migration> {
        let context = context(request.extensions())?;
        self.change(context, action(&request.get_ref().migration_id, "pause")).await
    }

    async fn resume_migration(&self, request: Request<v1::ResumeMigrationRequest>) -> Answer<v1::Migration> {
        let context = context(request.extensions())?;
        let v1::ResumeMigrationRequest {
            migration_id,
            budget_nano_usd,
            requests_per_minute,
            tokens_per_minute,
        } = request.get_ref();
        let resume = ChangeMigrationRequest {
            budget_nano_usd: *budget_nano_usd,
            requests_per_minute: *requests_per_minute,
            tokens_per_minute: *tokens_per_minute,
            ..action(migration_id, "resume")
        };
        self.change(context, resume).await
    }

    async fn cut_over_migration(
        &self,
        request: Request<v1::CutOverMigrationRequest>,
    ) -> Answer<v1::Migration> {
        let context = context(request.extensions())?;
        let v1::CutOverMigrationRequest { migration_id, force } = request.get_ref();
        let cut_over =
            ChangeMigrationRequest { force: force.unwrap_or(false), ..action(migration_id, "cut_over") };
        self.change(context, cut_over).await
    }

    async fn roll_back_migration(
        &self,
        request: Request<v1::RollBackMigrationRequest>,
    ) -> Answer<v1::Migration> {
        let context = context(request.extensions())?;
        self.change(context, action(&request.get_ref().migration_id, "roll_back")).await
    }

    async fn finish_migration(&self, request: Request<v1::FinishMigrationRequest>) -> Answer<v1::Migration> {
        let context = context(request.extensions())?;
        self.change(context, action(&request.get_ref().migration_id, "finish")).await
    }
}
