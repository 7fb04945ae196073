//! The control plane: tenants, API keys, agent configuration, the model catalog, and the stream that tells the other services
//! of every change. Everything is in PostgreSQL; any number of replicas may run.
//!
//! Not here: authentication of calls (the gateway), and what the configuration does (everybody else).

mod anchoring;
mod domain;
mod feed;
mod first_start;
mod grpc;
mod metrics;
mod retention;
mod rotation;
mod run;
mod service;
mod settings;
mod store;
mod verification;

pub use anchoring::AnchoringError;
pub use first_start::{FirstKeys, FirstStart, FirstStartError};
pub use grpc::Handler;
pub use run::{DEFAULT_PORT, migrate, parts, run, settings};
pub use service::{AdminService, Parts, StartError};
pub use settings::Settings;
