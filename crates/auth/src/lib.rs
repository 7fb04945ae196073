//! API keys, scopes and principals: what a key looks like, how it is checked, what it may do. No storage, no protocol.

mod key;
mod principal;
mod scope;

pub use key::{ApiKey, KeyError, KeyHash, ShownKey};
pub use principal::Principal;
pub use scope::{Scope, Scopes, UnknownScope};
