//! The edge of Embermesh: REST, OpenAI-compatible and gRPC clients end here. It authenticates, authorises, limits, and gives every
//! refusal its one shape; the embeddings service scrubs and fans out to the router and the store. Owns nothing durable.

mod api_calls;
mod authenticate;
mod authorise;
mod backends;
mod cache;
mod debug;
mod edge;
mod embeddings;
mod forward;
mod gateway;
mod http;
mod key_use;
mod migrations;
mod openai;
mod provider_health;
mod public_grpc;
mod read_your_writes;
mod rest;
mod run;
mod scrub;
mod settings;

pub use api_calls::ApiRequests;
pub use embeddings::EmbeddingLimits;
pub use gateway::{Gateway, Parts, StartError};
pub use migrations::MigrationSettings;
pub use run::{DEFAULT_PORT, Services, parts, run, settings};
pub use scrub::ScrubError;
pub use settings::Settings;
