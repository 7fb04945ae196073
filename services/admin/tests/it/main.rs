//! The control plane on a real PostgreSQL, through its contracts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod agents;
mod catalog;
mod first_start;
mod isolation;
mod keys;
mod stream;
mod world;
