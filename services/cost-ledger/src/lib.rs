//! The books: what every call to a provider may cost, did cost, and whose budget paid. Budgets are enforced here, in one
//! transaction with the row of the attempt, whatever the number of replicas.
//!
//! Not here: what a call will cost (the router knows prices and tokens), and which limits an agent has (admin says).

mod alerts;
mod backups;
mod call_back;
mod command_line;
mod domain;
mod grpc;
mod metrics;
mod partitions;
pub mod recovery;
mod run;
mod service;
mod sessions;
mod settings;
mod store;
mod sweeper;
mod verify;
mod waiting;
mod writer;

pub use backups::record as record_backup;
pub use command_line::command_line;
pub use grpc::Handler;
pub use run::{DEFAULT_PORT, make_partitions, migrate, parts, run, settings};
pub use service::{CostLedger, Parts, StartError};
pub use settings::Settings;
pub use store::BackupRun;
pub use verify::{Books, books};
