//! The contracts of `proto/` as Rust: messages, generated clients and servers, and their JSON form. No behaviour.

mod discreet;
mod failure;
pub mod json;
mod vectors;

pub use vectors::{WrongVector, from_le_bytes, to_le_bytes};

/// Every contract, encoded, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Header of admin's answer to a change: the version of the configuration from which on subscribers know it.
pub const CONFIG_VERSION: &str = "x-embermesh-config-version";

/// The public API.
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the documentation is in the contracts"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/embermesh.v1.rs"));
}

/// What the services say to one another.
pub mod internal {
    /// Version 1.
    #[expect(
        missing_docs,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated; the documentation is in the contracts"
    )]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/embermesh.internal.v1.rs"));
    }
}
