//! What a request through Embermesh costs, beside a proxy that only forwards bytes.
//!
//! Three binaries: `bench-upstream` (a provider that answers at once), `bench-proxy` (the floor) and `bench-load` (the
//! driver, which starts the other two). The figure that counts is server CPU time per request: unlike requests per
//! second it does not depend on which side saturates first. The absolute figures hold for one machine; the ratio to
//! the proxy, measured in alternating rounds of the same run, travels better.

pub mod answers;
pub mod client;
pub mod cpu;
pub mod load;
pub mod process;
pub mod report;
pub mod scan;
pub mod serve;
pub mod verify;
pub mod workload;
