//! The public embeddings service: checks what came, scrubs it, has it embedded by the router and kept by the store, and answers in
//! the order of the request. Decides nothing about providers and holds no SQL.

mod answer;
mod answers;
mod caller;
mod costs;
mod cross_model;
mod embed;
mod entry;
pub(crate) mod fields;
mod idempotency;
mod json_object;
mod keep;
mod kept_size;
mod keyed;
mod makers;
mod route;
mod rows;
mod search;
mod settings;
mod summary;
mod too_long;

use std::sync::Arc;

use embermesh_errors::Error;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    internal::v1::{router_client::RouterClient, store_client::StoreClient},
    v1::{self, embeddings_server},
};
use embermesh_subscription::Subscription;
use embermesh_transport::{MAX_MESSAGE_BYTES, Transport};
use embermesh_types::{AgentId, TenantId};
use tonic::{Request, Response, Status};

pub(crate) use answers::{End, claim};
use caller::Caller;
pub(crate) use costs::Costs;
pub(crate) use entry::{MAX_BATCH, check_text, check_total};
pub(crate) use idempotency::{Fingerprint, IdempotencyKey};
pub(crate) use json_object::{JsonObject, JsonScalar};
pub(crate) use kept_size::check_kept;
pub(crate) use makers::{makers, usable};
pub(crate) use route::{InputType, Item, Route, Routed, about};
pub use settings::EmbeddingLimits;
pub(crate) use summary::Summary;
pub(crate) use too_long::OnTooLong;

use crate::scrub::{AgentScrubber, Scrubbing};

/// What the embeddings service and the OpenAI edge stand on.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddingParts {
    /// The provider router.
    pub router: Transport,
    /// The vector store.
    pub store: Transport,
    /// Agents and catalog.
    pub subscription: Subscription,
    /// What takes personal data out.
    pub scrubbing: Arc<Scrubbing>,
    /// What embedding cost.
    pub costs: Costs,
    /// How much one call may bring.
    pub limits: EmbeddingLimits,
    /// For calls that go on when their client has gone away.
    pub tasks: Tasks,
}

impl EmbeddingParts {
    /// A client of the provider router.
    pub fn router(&self) -> RouterClient<Transport> {
        RouterClient::new(self.router.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// A client of the vector store.
    pub fn store(&self) -> StoreClient<Transport> {
        StoreClient::new(self.store.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// What scrubs the texts of an agent; of no agent in particular, as the policy of the tenant or the installation says.
    pub fn scrubber(&self, tenant: TenantId, agent: Option<&AgentId>) -> Result<AgentScrubber<'_>, Error> {
        let snapshot = self.subscription.current();
        let agent = agent.and_then(|agent| snapshot.agent(tenant, agent));
        self.scrubbing.of(snapshot.pii_policy(tenant), agent.map(AsRef::as_ref))
    }
}

/// The implementation of `embermesh.v1.Embeddings`.
#[derive(Debug, Clone)]
pub(crate) struct Embeddings(EmbeddingParts);

impl Embeddings {
    /// The service over its parts.
    pub const fn new(parts: EmbeddingParts) -> Self {
        Self(parts)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl embeddings_server::Embeddings for Embeddings {
    async fn embed(&self, request: Request<v1::EmbedRequest>) -> Answer<v1::EmbedResponse> {
        let caller = Caller::of(&request)?;
        let answer = self.embed_one(&caller, request.into_inner()).await?;
        Ok(Summary::of_one(&answer).dress(answer))
    }

    async fn embed_batch(&self, request: Request<v1::EmbedBatchRequest>) -> Answer<v1::EmbedBatchResponse> {
        let caller = Caller::of(&request)?;
        let answer = self.embed_each(&caller, request.into_inner().requests).await?;
        Ok(Summary::of_batch(&answer).dress(answer))
    }

    async fn search(&self, request: Request<v1::SearchRequest>) -> Answer<v1::SearchResponse> {
        let caller = Caller::of(&request)?;
        let (answer, summary) = self.find(&caller, request.into_inner()).await?;
        Ok(summary.dress(answer))
    }

    async fn search_cross_model(
        &self,
        request: Request<v1::CrossModelSearchRequest>,
    ) -> Answer<v1::CrossModelSearchResponse> {
        let caller = Caller::of(&request)?;
        let (answer, summary) = self.find_cross_model(&caller, request.into_inner()).await?;
        Ok(summary.dress(answer))
    }

    async fn get_embedding(&self, request: Request<v1::GetEmbeddingRequest>) -> Answer<v1::StoredEmbedding> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(self.get(&caller, request.into_inner()).await?))
    }

    async fn list_embeddings(
        &self,
        request: Request<v1::ListEmbeddingsRequest>,
    ) -> Answer<v1::ListEmbeddingsResponse> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(self.list(&caller, request.into_inner()).await?))
    }

    async fn delete_embedding(
        &self,
        request: Request<v1::DeleteEmbeddingRequest>,
    ) -> Answer<v1::DeleteEmbeddingResponse> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(self.delete(&caller, &request.get_ref().embedding_id).await?))
    }

    async fn delete_embeddings(
        &self,
        request: Request<v1::DeleteEmbeddingsRequest>,
    ) -> Answer<v1::DeleteEmbeddingsResponse> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(self.delete_matching(&caller, request.into_inner()).await?))
    }
}

/// What a service behind the gateway got wrong; the log has the figures.
pub(crate) fn defect(what: &'static str) -> Error {
    tracing::error!(what, "a service broke its contract");
    Error::internal(format!("{what}, report the request id"))
}

#[cfg(test)]
pub(crate) mod stand_ins;
#[cfg(test)]
mod tests;
