//! The ledger on a real PostgreSQL, through its contracts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod alerts;
mod budgets;
mod callback;
mod isolation;
mod journal;
mod leases;
mod model;
mod quotas;
mod recovery;
mod reports;
mod router;
mod schema;
mod sessions;
mod settlement;
mod sharing;
mod verify;
mod world;
