//! The embedding APIs, one file each: texts in, vectors out, in each API's exact wire format, and what went wrong said in terms of
//! what to do next.
//!
//! Knows nothing of tenants, money, retries or breakers; a call is made once. Answers are checked for their form here, and for
//! what is in the vectors by [`verify::check`].

mod azure;
mod bedrock;
mod call;
mod cohere;
mod connect;
mod error;
mod gemini;
mod google_error;
mod google_token;
mod http;
mod json;
mod local;
#[cfg(test)]
mod mangling;
mod numbers;
mod openai;
mod surroundings;
pub mod verify;
mod vertex;
mod voyage;

use async_trait::async_trait;

pub use call::{BatchLimits, InputType, ProviderAnswer, ProviderCall, Usage};
pub use connect::{BadEntry, Connector, NewProvider};
pub use embermesh_proto::v1::CatalogModel;
pub use error::{Billing, Failure, ProviderError};
pub use surroundings::Surroundings;

/// An API that embeds texts, with one credential at one place.
#[async_trait]
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// What one call may carry. The catalog may know less: callers keep to both.
    fn limits(&self, model: &CatalogModel) -> BatchLimits;

    /// Embeds every text of the call, in order. Dropping the future closes the connection.
    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError>;
}
