//! What admin has configured, in memory: a [`Snapshot`] that every request reads without a lock, kept fresh by admin's
//! stream and saved to disk, so that a process restarted while admin is away still serves.
//!
//! Not here: what the configuration means, and how admin stores it.

mod disk;
mod entry;
mod snapshot;
mod stream;
mod subscription;

pub use embermesh_proto::internal::v1::Section;
pub use snapshot::{KeyRecord, Pinned, Snapshot};
pub use subscription::{Options, Subscription};
