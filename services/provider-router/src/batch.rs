//! Texts that go to a provider together, and what comes back.

use std::sync::Arc;

use embermesh_proto::v1::CatalogModel;
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, NanoUsd, Price, SpaceId, TokenCount};

use crate::providers::ProviderAnswer;

/// Texts of one space that go to a provider together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub ctx: CallContext,
    pub agent: AgentId,
    pub model: Arc<CatalogModel>,
    pub space: SpaceId,
    pub price: Price,
    pub texts: Vec<Arc<str>>,
    /// Calls that may follow a failed one, whatever the deployment; absent: as many as the router makes at all.
    pub max_retries: Option<u32>,
}

/// What came back, checked.
#[derive(Debug, Clone)]
pub(crate) struct Embedded {
    pub answer: ProviderAnswer,
    pub tokens: TokenCount,
    pub cost: NanoUsd,
    pub provider: Arc<str>,
}
