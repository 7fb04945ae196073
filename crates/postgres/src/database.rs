//! The pool of one schema and role.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use secrecy::SecretString;
use uuid::Uuid;

use crate::dsn::{Connector, Dsn};
use crate::lease::Lease;
use crate::{DbError, PoolConfig, Role, Schema, Session};

/// A handle on the pool; cloning it is cheap and shares the connections.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    limits: Arc<PoolConfig>,
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
        let dsn = Dsn::parse(url)?;
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match dsn.connector() {
            Connector::Plain(tls) => Manager::from_config(dsn.config, tls, manager_config),
            Connector::Tls(tls) => Manager::from_config(dsn.config, tls, manager_config),
        };
        let setup: Arc<str> = session_setup(schema, role, limits).into();
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
                Box::pin(async move { client.batch_execute(&setup).await.map_err(HookError::Backend) })
            }))
            .pre_recycle(Hook::sync_fn(move |_, metrics| {
                if metrics.age() > lifetime || metrics.last_used() > idle {
                    return Err(HookError::message("the connection has reached its age"));
                }
                Ok(())
            }))
            .build()
            .map_err(|error| DbError::Configuration(error.to_string()))?;
        let database = Self { pool, limits: Arc::new(limits.clone()) };
        drop(database.lease().await?);
        Ok(database)
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
