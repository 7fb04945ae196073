//! The books: what every call to a provider may cost, did cost, and whose budget paid. Budgets are enforced here, in one
//! transaction with the row of the attempt, whatever the number of replicas.
//!
//! Not here: what a call will cost (the router knows prices and tokens), and which limits an agent has (admin says).

mod domain;
mod grpc;
mod metrics;
mod partitions;
mod run;
mod service;
mod settings;
mod store;
mod sweeper;
mod writer;

pub use grpc::Handler;
pub use run::{DEFAULT_PORT, parts, run, settings};
pub use service::{CostLedger, Parts, StartError};
pub use settings::Settings;
