//! The control plane on a real PostgreSQL, through its contracts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod agent_history;
mod agents;
mod api_calls;
mod audit;
mod audit_tampering;
mod breakers;
mod budgets;
mod budgets_stream;
mod cache_orders;
mod catalog;
mod epoch;
mod first_start;
mod handover;
mod isolation;
mod key_rotation;
mod key_use;
mod keys;
mod model_change;
mod moved_pins;
mod operator;
mod policies;
mod prices;
mod providers;
mod references;
mod settings;
mod stream;
mod subscriber;
mod tenants;
mod world;
