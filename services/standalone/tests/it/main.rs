//! The binary from the outside, without a server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agents;
