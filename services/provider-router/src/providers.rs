//! What a provider is to the router: texts in, vectors out, and what went wrong said in terms of what to do next.

pub(crate) mod http;
pub(crate) mod local;
pub(crate) mod openai;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use embermesh_types::{AttemptId, TokenCount};

/// One call to a provider.
#[derive(Debug, Clone)]
pub(crate) struct ProviderCall {
    pub attempt: AttemptId,
    /// Catalog id, which is the provider's own name of the model.
    pub model: Arc<str>,
    pub texts: Vec<Arc<str>>,
    pub dimensions: u32,
    /// The length is not the model's native one and has to be asked for.
    pub shortened: bool,
    pub timeout: Duration,
}

/// A provider's answer; nothing in it is checked yet but its form.
#[derive(Debug, Clone)]
pub(crate) struct ProviderAnswer {
    /// Little-endian f32, in the order of the texts.
    pub vectors: Vec<Bytes>,
    /// What the provider counted; absent: it does not say.
    pub tokens: Option<TokenCount>,
}

/// What to do about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Another deployment may succeed, or this one later.
    Retry,
    /// The deployment refuses the credential or the whole account: another may succeed, this one will not soon.
    Elsewhere,
    /// The request itself is refused; nobody will take it.
    GiveUp,
}

/// Whether a failed call may have been charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Billing {
    /// Provably not.
    NotBilled,
    /// It may have been: the bytes left and no answer tells.
    Unknown,
}

/// Why a call gave no vectors.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ProviderError {
    pub message: String,
    pub remedy: Remedy,
    pub billing: Billing,
    /// The provider is at fault, so that it counts against its health.
    pub unhealthy: bool,
    pub retry_after: Option<Duration>,
}

impl ProviderError {
    /// A failure of the provider or of the way to it.
    pub fn failed(message: impl Into<String>, billing: Billing) -> Self {
        Self { message: message.into(), remedy: Remedy::Retry, billing, unhealthy: true, retry_after: None }
    }
}

/// An API that embeds texts.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// Most texts of one call.
    fn max_batch(&self) -> u64;

    /// Most tokens of one call, over all its texts.
    fn max_batch_tokens(&self) -> u64;

    /// Embeds every text of the call, in order.
    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError>;
}
