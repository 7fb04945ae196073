//! The ledger on a real PostgreSQL, through its contracts.

mod budgets;
mod isolation;
mod model;
mod reports;
mod schema;
mod settlement;
mod speed;
mod world;
