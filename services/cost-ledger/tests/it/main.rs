//! The ledger on a real PostgreSQL, through its contracts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod budgets;
mod isolation;
mod model;
mod reports;
mod schema;
mod settlement;
mod speed;
mod world;
