//! The whole system, from the outside: real binaries, real PostgreSQL, real models; only paid providers are simulated.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod agents;
mod arrows;
mod audit;
mod bad_input;
mod books;
mod choice;
mod client;
mod control_plane_away;
mod crash;
mod drift;
mod flow;
mod idempotency;
mod key_rotation;
mod keys;
mod known_bugs;
mod long_texts;
mod merging;
mod money;
mod outage;
mod prices;
mod privacy;
mod propagation;
mod provider_faults;
mod provider_formats;
mod providers;
mod python;
mod readme;
mod reports_agree;
mod route_roles;
mod row_security;
mod running;
mod runtime_providers;
mod simulated;
mod spaces;
mod tenants;
mod throttles;
mod timed;
mod two_routers;
mod two_tenants_at_random;
