//! Where this process may connect to for a URL that came over the API: which hosts, and which of the addresses that they resolve to.
//! Pure: whoever connects resolves the name once, asks [`Reach::permits`] of every address, and connects to one that passed.
//!
//! URLs of the configuration file are the operator's own and pass by here unasked.

mod addresses;
mod name;
mod pattern;
mod rules;
#[cfg(any(test, feature = "testing"))]
pub mod tricks;

pub use addresses::Reach;
pub use rules::{BadRule, Refusal, Rules};
