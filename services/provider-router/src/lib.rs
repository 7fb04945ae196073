//! provider-router: takes scrubbed texts and gives vectors of one embedding space. Chooses the space by the agent's configuration,
//! looks each text up, calls providers with failover inside the space, checks what they answer, and books what they cost.
//!
//! Owns providers, breakers and the in-process cache. Knows nothing of clients, keys, personal data or storage.

mod asking;
mod attempts;
mod batch;
mod books;
mod cache;
mod deployment;
mod domain;
mod embed;
mod grpc;
mod health;
mod hits;
mod metrics;
mod missing;
mod pins;
mod providers;
mod run;
mod service;
mod tokenizers;

pub use run::{DEFAULT_PORT, parts, run};
pub use service::{Parts, ProviderRouter, StartError};
