//! provider-router: takes scrubbed texts and gives vectors of one embedding space. Chooses the space by the agent's configuration,
//! looks each text up, calls providers with failover inside the space, checks what they answer, and books what they cost.
//!
//! Owns providers, breakers and the in-process cache. Knows nothing of clients, keys, personal data or storage.

mod account;
mod account_builder;
mod admission;
mod agent_limits;
mod answer;
mod attempt;
mod attempts;
mod batch;
mod books;
mod cache;
mod canary;
mod cheaper;
mod clearing;
mod consider;
mod credential;
mod deployment;
mod deployments;
mod domain;
mod embed;
mod escrow;
mod explain;
mod fetch;
mod following;
mod freshness;
mod groups;
mod grpc;
mod hashing;
mod hits;
mod hold;
mod ids;
mod journal;
mod kept;
mod key_makers;
mod leases;
mod long_texts;
mod metrics;
mod operations;
mod orders;
mod pace;
mod pins;
mod probe;
mod profile;
mod proof;
mod proofs;
mod provider_time;
mod quotas;
mod reserve;
mod resolve;
mod run;
mod select;
mod service;
mod spec;
mod suspicion;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod tiers;
mod tokenizers;
mod tuning;
mod verdict;

pub use run::{DEFAULT_PORT, parts, run};
pub use service::{Parts, ProviderRouter, StartError};
