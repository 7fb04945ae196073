//! What tests and local trials stand on: real counterparts on real sockets, so that nothing in the product is mocked.
//!
//! - [`sim`]: a simulator of seven embedding APIs with deterministic vectors, a call log, faults and rate limits. The binary
//!   `embermesh-provider-sim` serves the same thing to other processes.
//!
//! Nothing here is linked into a shipped service.

pub mod sim;
