//! What admin has configured, in memory: a [`Snapshot`] that every request reads without a lock, kept fresh by admin's
//! stream and saved to disk, so that a process restarted while admin is away still serves.
//!
//! Not here: what the configuration means, and how admin stores it.

mod breaker_order;
mod cache_clear;
mod contact;
mod disk;
mod entry;
mod epoch;
mod provider_entry;
mod run_settings;
mod snapshot;
mod space_reference;
mod stream;
mod subscription;
mod tenants;

pub use breaker_order::{BreakerAction, BreakerOrder};
pub use cache_clear::CacheClear;
pub use embermesh_proto::internal::v1::{Section, TenantEntry};
pub use run_settings::{BreakerChanges, RunSettings};
pub use snapshot::{KeyRecord, Pinned, Snapshot};
pub use space_reference::SpaceReference;
pub use subscription::{Options, Subscription, Surroundings};
