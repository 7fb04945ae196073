//! What a request through Embermesh costs, beside a proxy that only forwards bytes.
//!
//! Beside it, the long rounds against failing and throttling providers: [`rounds`], run by `bench-rounds`, and
//! the rounds of kill -9: [`faults`], run by `bench-faults`; search on real text: [`search`], run by `bench-search`; and rounds of kill -9 while rows are
//! stored: [`ingest`], run by `bench-ingest`, or moved to another space: [`migration`], run by `bench-migration`.
//!
//! Two binaries for the cost: `bench-proxy` (the floor) and `bench-load` (the driver, which starts it, and is the provider that answers at
//! once). The figure that counts is server CPU time per request: unlike requests per
//! second it does not depend on which side saturates first. The absolute figures hold for one machine; the ratio to
//! the proxy, measured in alternating rounds of the same run, travels better.

pub mod answers;
pub mod client;
pub mod cpu;
pub mod faults;
pub mod ingest;
pub mod load;
pub mod migration;
pub mod process;
pub mod report;
pub mod rounds;
pub mod scan;
pub mod search;
pub mod serve;
pub mod upstream;
pub mod verify;
pub mod workload;
