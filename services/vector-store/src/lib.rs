//! Stores, searches and deletes vectors in PostgreSQL with pgvector.
//!
//! What it guarantees:
//! - a vector is kept, searched and compared inside its own embedding space: every space has a table of its own;
//! - a row exists once, however often and from however many callers it is put; acknowledged means committed;
//! - rows belong to the tenant, and for a bound key to the agent, of the caller's credential, which row-level security checks once
//!   more;
//! - an answer shorter than asked says why;
//! - an idempotency key is one call's at a time, and stands for one answer for a day.
//!
//! It also keeps what is in Redis for all routers, vectors and shared rate limits; nothing of that is needed, and without Redis the
//! answer is that it is away.
//!
//! It works on jobs that fill and empty that cache; what a job is to do and how far it is outlives the process that works on it.
//!
//! It knows no models, no providers and no plain text rules: the gateway has scrubbed and embedded before it calls.
//!
//! [`VectorStore::start`] migrates the schema, connects, and starts the background work: partitions ahead of time, indexes where a
//! tenant has grown large in a month, expiry of answers under idempotency keys.

mod archive;
mod command_line;
mod domain;
mod error;
mod footprint;
mod grpc;
mod jobs;
mod maintenance;
mod metrics;
mod redis;
mod retention;
mod run;
mod service;
mod settings;
mod slow;
mod store;
mod uses;

pub use command_line::{command_line, maintain};
pub use domain::{index::IndexKind, vector::Element};
pub use error::StartError;
pub use run::{DEFAULT_PORT, migrate, parts, run, settings};
pub use service::{Parts, VectorStore};
pub use settings::{Archive, Hnsw, Ivfflat, RedisTuning, Settings, TextSearch};
pub use store::{Compared, Contents, contents, same_answers};
