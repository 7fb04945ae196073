//! Bedrock against the simulator, which checks signatures for real: what is sent, what comes back, and what each error means.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod account;
mod failures;
mod models;
mod roles;
