//! PostgreSQL as every service uses it: one pool per schema and role, tenant transactions, migrations, shared roles.
//!
//! A service holds a [`Database`] and speaks through a [`Session`]: [`Database::tenant`] for rows behind row-level
//! security, [`Database::system`] for tables without tenants. Statements stay in the services' `store/` modules; this
//! crate knows no table but the migration history.
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
mod roles;
mod schema;
mod session;
mod tls;
mod transaction;

pub use database::{Database, PoolStatus};
pub use error::DbError;
pub use explain::Unexplained;
pub use migrations::{Migration, migrate};
pub use pool_config::PoolConfig;
pub use roles::{APP_ROLE, OPERATOR_ROLE};
pub use schema::{Role, Schema};
pub use session::Session;
pub use transaction::Transaction;

pub use tokio_postgres::Row;
pub use tokio_postgres::types;
