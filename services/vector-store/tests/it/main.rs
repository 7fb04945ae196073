//! The vector store as its callers see it, on real PostgreSQL and Redis.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agent_bound;
mod archive;
mod deduplication;
mod deletion;
mod figures;
mod filters;
mod footprint;
mod harness;
mod hybrid;
mod idempotency;
mod index;
mod jobs;
mod listing;
mod migrations;
mod month_roll_over;
mod owner;
mod promotion;
mod redis;
mod replicas;
mod retention;
mod search_order;
mod streaming;
mod tenants;
mod text;
mod view;
