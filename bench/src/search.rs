//! Search on real text: recall, throughput and latency of vector-store beside plain pgvector, on the same rows in the same run.
//!
//! [`corpus`] holds the texts and their vectors, [`truth`] what an exact search must find; [`raw`] is pgvector as `psql` and `pgbench`
//! drive it, [`served`] is the service over gRPC, [`lean`] the client that measures it, [`ways`] how batches of many rows could be stored, [`tenants`] many small tenants
//! at once, [`leaving`] a month that leaves under load, [`turns`] both sides by turns.

pub mod corpus;
pub mod figures;
pub mod lean;
pub mod leaving;
pub mod raw;
pub mod served;
pub mod tenants;
pub mod truth;
pub mod turns;
pub mod ways;

/// Why a bench could not go on.
pub type SearchError = Box<dyn std::error::Error + Send + Sync>;

/// Rows of an answer.
pub const K: usize = 10;
