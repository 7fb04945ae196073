//! The gateway over real services on PostgreSQL.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod budgets;
mod idempotency;
mod read_your_writes;
mod world;
