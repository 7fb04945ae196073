//! The pool of one schema and role.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use secrecy::SecretString;
use tokio_postgres::{Client, SimpleQueryMessage};
use uuid::Uuid;

use crate::dsn::{Connector, Dsn};
use crate::lease::Lease;
use crate::replicas::INCARNATION;
use crate::write_mark::REMEMBER_SYSTEM;
use crate::{DbError, PoolConfig, Role, Schema, Session};

/// A handle on the pool; cloning it is cheap and shares the connections.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    limits: Arc<PoolConfig>,
    /// Whether a [`WriteMark`](crate::WriteMark) is worth filling in.
    pub(crate) marks: bool,
}

/// The pool at one instant, for metrics and readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Most connections that may be open.
    pub max_size: usize,
    /// Connections open now.
    pub size: usize,
    /// Open connections that nobody uses.
    pub idle: usize,
    /// Callers waiting for one.
    pub waiting: usize,
}

impl Database {
    /// Opens a pool whose every connection works in `schema` as `role`, and proves it with one connection.
    ///
    /// # Errors
    /// [`DbError::Configuration`] when the URL is unusable or the login is refused; [`DbError::Denied`] or
    /// [`DbError::Server`] when the user cannot take the role (run [`migrate`](crate::migrate) first);
    /// [`DbError::Unavailable`] when PostgreSQL cannot be reached.
    pub async fn connect(
        url: &SecretString,
        schema: Schema,
        role: Role,
        limits: &PoolConfig,
    ) -> Result<Self, DbError> {
        Self::connect_as(url, schema, role, limits, false).await
    }

    /// The same for a primary with replicas: its sessions can be [marked](Session::marked).
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn connect_marking(
        url: &SecretString,
        schema: Schema,
        role: Role,
        limits: &PoolConfig,
    ) -> Result<Self, DbError> {
        Self::connect_as(url, schema, role, limits, true).await
    }

    async fn connect_as(
        url: &SecretString,
        schema: Schema,
        role: Role,
        limits: &PoolConfig,
        marks: bool,
    ) -> Result<Self, DbError> {
        let mut setup = String::new();
        if marks {
            setup.push_str(REMEMBER_SYSTEM);
        }
        setup.push_str(&session_setup(schema, role, limits));
        let database = Self { marks, ..Self::open(&Dsn::parse(url)?, setup, None, limits)? };
        drop(database.lease().await?);
        Ok(database)
    }

    /// Connections to a server that started at `incarnation`, and to no later one at its place. Connects to nothing yet.
    pub(crate) fn of_one_server(
        dsn: &Dsn,
        role: Role,
        schema: Schema,
        limits: &PoolConfig,
        incarnation: String,
    ) -> Result<Self, DbError> {
        Self::open(dsn, session_setup(schema, role, limits), Some(incarnation), limits)
    }

    fn open(
        dsn: &Dsn,
        setup: String,
        incarnation: Option<String>,
        limits: &PoolConfig,
    ) -> Result<Self, DbError> {
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let config = dsn.config.clone();
        let manager = match dsn.connector() {
            Connector::Plain(tls) => Manager::from_config(config, tls, manager_config),
            Connector::Tls(tls) => Manager::from_config(config, tls, manager_config),
        };
        let setup: Arc<(String, Option<String>)> = Arc::new((setup, incarnation));
        let (lifetime, idle) = (limits.conn_max_lifetime, limits.conn_max_idle_time);
        let pool = Pool::builder(manager)
            .max_size(limits.max_open_conns.get())
            .wait_timeout(Some(limits.acquire_timeout))
            .create_timeout(Some(limits.connect_timeout))
            // the most recently used connection goes out first, so that a surplus falls idle and is closed
            .queue_mode(deadpool_postgres::QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |client, _| {
                let setup = Arc::clone(&setup);
                Box::pin(async move {
                    if let Some(incarnation) = &setup.1 {
                        is_incarnation(client, incarnation).await?;
                    }
                    client.batch_execute(&setup.0).await.map_err(HookError::Backend)
                })
            }))
            .pre_recycle(Hook::sync_fn(move |_, metrics| {
                if metrics.age() > lifetime || metrics.last_used() > idle {
                    return Err(HookError::message("the connection has reached its age"));
                }
                Ok(())
            }))
            .build()
            .map_err(|error| DbError::Configuration(error.to_string()))?;
        Ok(Self { pool, limits: Arc::new(limits.clone()), marks: false })
    }

    /// A session whose statements see the rows of `tenant` alone.
    pub fn tenant(&self, tenant: Uuid) -> Session<'_> {
        Session::new(self, Some(tenant))
    }

    /// A session without tenant: tables under row-level security show it nothing.
    pub fn system(&self) -> Session<'_> {
        Session::new(self, None)
    }

    /// Whether PostgreSQL answers.
    ///
    /// # Errors
    /// As any query.
    pub async fn ping(&self) -> Result<(), DbError> {
        self.system().query("SELECT 1", &[]).await.map(drop)
    }

    /// The pool at this instant.
    pub fn status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            max_size: status.max_size,
            size: status.size,
            idle: status.available,
            waiting: status.waiting,
        }
    }

    /// Closes connections that have been idle or alive for too long; returns how many.
    pub fn reap(&self) -> usize {
        let (lifetime, idle) = (self.limits.conn_max_lifetime, self.limits.conn_max_idle_time);
        let kept = |_: &_, metrics: deadpool_postgres::Metrics| {
            metrics.age() <= lifetime && metrics.last_used() <= idle
        };
        self.pool.retain(kept).removed.len()
    }

    /// Reaps for ever. Without it the limits still hold for every connection that is used, but a pool without traffic
    /// keeps its connections open.
    pub async fn maintain(&self) {
        let pause =
            (self.limits.conn_max_idle_time / 2).clamp(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            tokio::time::sleep(pause).await;
            let closed = self.reap();
            if closed > 0 {
                tracing::debug!(closed, "closed idle database connections");
            }
        }
    }

    /// Refuses new work and closes what is idle; connections in use are closed when they come back.
    pub fn close(&self) {
        self.pool.close();
    }

    pub(crate) async fn lease(&self) -> Result<Lease, DbError> {
        Ok(Lease::new(self.pool.get().await?, self.limits.max_idle_conns))
    }

    /// Makes every connection prepare the statement anew.
    pub(crate) fn forget_statement(&self, sql: &str) {
        self.pool.manager().statement_caches.remove(sql, &[]);
    }
}

/// Refuses a connection to a server that has started since, or to another one behind the same name.
async fn is_incarnation(client: &Client, expected: &str) -> Result<(), HookError> {
    let answer = client.simple_query(INCARNATION).await.map_err(HookError::Backend)?;
    let same = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(expected));
    if answer.iter().any(same) {
        return Ok(());
    }
    Err(HookError::message("another server answers here than the one that was looked at"))
}

/// What a connection is told once, right after login.
fn session_setup(schema: Schema, role: Role, limits: &PoolConfig) -> String {
    let mut setup = format!(
        // extensions live in `public`
        "SET search_path = {schema}, public; \
         SET statement_timeout = {statement_ms}; \
         SET idle_in_transaction_session_timeout = 60000; \
         SET client_connection_check_interval = 1000;",
        statement_ms = limits.statement_timeout.as_millis(),
    );
    if let Some(role) = role.assumed() {
        setup.push_str(" SET ROLE ");
        setup.push_str(role);
    }
    setup
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("status", &self.status()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
