//! The whole system, from the outside: real binaries, real PostgreSQL, real models; only paid providers are simulated.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod arrows;
mod bad_input;
mod client;
mod control_plane_away;
mod crash;
mod flow;
mod keys;
mod money;
mod privacy;
mod providers;
mod python;
mod readme;
mod row_security;
mod running;
mod tenants;
