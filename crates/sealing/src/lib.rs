//! Seals short secrets for rest and transport: AES-256-GCM under keys that are known by number, bound to where the secret belongs.
//! Whoever holds the keys and names the same place opens it; anything else fails in the same way. Pure but for randomness.

mod keys;
mod sealed;

pub use keys::{BadKeys, Keys, generate};
pub use sealed::CannotOpen;
