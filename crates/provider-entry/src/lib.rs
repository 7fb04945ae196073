//! Provider entries that came over the API: from the contract to what the configuration file says in its own way, to what place a
//! credential belongs, and which addresses may be named. What admin refuses to keep a router refuses to use, by the same code. Pure.

mod credential;
mod entry;
mod places;

pub use credential::{Credential, SealError};
pub use entry::{BadProvider, configured};
pub use places::{destination, judge};
