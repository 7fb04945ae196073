//! PostgreSQL as every service uses it: one pool per schema and role, tenant transactions, migrations, shared roles.
//!
//! A service holds a [`Database`] and speaks through a [`Session`]: [`Database::tenant`] for rows behind row-level
//! security, [`Database::system`] for tables without tenants. Statements stay in the services' `store/` modules; this
//! crate knows no table but the migration history. Where there are replicas, a [`ReadRouter`] chooses who serves a read.
//!
//! What it guarantees, whichever way a future ends:
//! - a pooled connection is never handed on inside a transaction or with another tenant's setting;
//! - statements run as a role that owns nothing, even where the configured user is a superuser;
//! - errors say whether to try again, and carry neither parameters nor rows (PostgreSQL's `DETAIL` does).

mod copy;
mod database;
mod direct;
mod dsn;
mod error;
mod explain;
mod lease;
mod migrations;
mod pool_config;
mod pool_metrics;
mod replicas;
mod restoring;
mod roles;
mod schema;
mod session;
mod tls;
mod together;
mod transaction;
mod write_mark;

pub use database::{Database, PoolStatus};
pub use error::DbError;
pub use explain::Unexplained;
pub use migrations::{Migration, migrate};
pub use pool_config::PoolConfig;
pub use pool_metrics::PoolMetrics;
pub use replicas::{
    Inspected, Lag, ReadRouter, ReadSession, Reader, ReplicaSet, ReplicaSettings, ReplicaStatus, Source,
    Standing, Why, inspect,
};
pub use restoring::{prepare_for_restore, tidy};
pub use roles::{APP_ROLE, OPERATOR_ROLE};
pub use schema::{Role, Schema};
pub use session::Session;
pub use together::together;
pub use transaction::Transaction;
pub use write_mark::WriteMark;

pub use tokio_postgres::Row;
pub use tokio_postgres::types;
