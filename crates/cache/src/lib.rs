//! Vectors and shared rate limits in Redis, on one node or on a cluster.
//!
//! Everything here may be lost at any time and Redis may be away for hours, at the start too: a call then answers [`Away`], at once
//! after the first few, and the connection comes back by itself. What is kept is found again only whole and under its own key;
//! anything else is a miss, never an error.
//!
//! Not here: what a key is made of, when to ask, and what to do without an answer. The client library is seen by nobody else.

mod away;
mod breaker;
mod connection;
mod get_put;
mod kept;
mod key;
mod lease;
mod redis_cache;
mod server_memory;
mod settings;
mod sweep;
#[cfg(feature = "testing")]
pub mod testing;

pub use away::Away;
pub use embermesh_vector_key::VectorKey;
pub use kept::{Facts, Kept, KeptError};
pub use lease::{Lease, Limit, USE_WITHIN};
pub use redis_cache::RedisCache;
pub use server_memory::ServerMemory;
pub use settings::{RedisSettings, SettingsError};
pub use sweep::{Sweep, Swept};
