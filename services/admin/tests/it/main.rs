//! The control plane on a real PostgreSQL, through its contracts.

mod agents;
mod catalog;
mod first_start;
mod isolation;
mod keys;
mod stream;
mod world;
