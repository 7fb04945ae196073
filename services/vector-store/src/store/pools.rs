//! The connections of the store: one pool for requests, which may read and write rows, and two small ones of the owner, which
//! define tables and indexes; and those to replicas, if there are any.

use std::num::NonZeroUsize;
use std::time::Duration;

use embermesh_postgres::{
    Database, DbError, Migration, PoolConfig, ReadRouter, ReplicaSet, Role, Schema, Source, migrate,
};
use secrecy::SecretString;

use crate::StartError;

/// Every migration of the schema, in order.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { name: "V001__store", sql: include_str!("../../../../migrations/store/V001__store.sql") },
    Migration { name: "V002__answers", sql: include_str!("../../../../migrations/store/V002__answers.sql") },
    Migration { name: "V003__jobs", sql: include_str!("../../../../migrations/store/V003__jobs.sql") },
    Migration { name: "V004__archive", sql: include_str!("../../../../migrations/store/V004__archive.sql") },
    Migration {
        name: "V005__migrations",
        sql: include_str!("../../../../migrations/store/V005__migrations.sql"),
    },
    Migration { name: "V006__words", sql: include_str!("../../../../migrations/store/V006__words.sql") },
    Migration {
        name: "V007__index_recall",
        sql: include_str!("../../../../migrations/store/V007__index_recall.sql"),
    },
    Migration {
        name: "V008__promoted_tenants",
        sql: include_str!("../../../../migrations/store/V008__promoted_tenants.sql"),
    },
    Migration {
        name: "V009__truncated_copies",
        sql: include_str!("../../../../migrations/store/V009__truncated_copies.sql"),
    },
];

pub(crate) struct Pools {
    /// Obeys row-level security.
    pub(crate) app: Database,
    /// Chooses where requests read.
    pub(crate) reads: ReadRouter,
    /// Creates spaces and partitions, holds the lock of an index build, and expires.
    pub(crate) owner: Database,
    /// One connection for index builds, so that what is set on it stays set for the next statement.
    pub(crate) builder: Database,
}

impl Pools {
    /// Brings the schema up to date and connects; to replicas only [`ReadRouter::follow`] does.
    pub(crate) async fn open(
        url: &SecretString,
        pool: &PoolConfig,
        replicas: &ReplicaSet,
        on_read: impl Fn(Source) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        migrate(url, Schema::Store, MIGRATIONS).await?;
        let small = |connections: NonZeroUsize| PoolConfig {
            max_open_conns: connections,
            max_idle_conns: 1,
            // waiting for a table lock or building an index may take as long as it takes
            statement_timeout: Duration::ZERO,
            ..pool.clone()
        };
        let two = NonZeroUsize::MIN.saturating_add(1);
        let owner = Database::connect(url, Schema::Store, Role::Owner, &small(two)).await?;
        let builder = Database::connect(url, Schema::Store, Role::Owner, &small(NonZeroUsize::MIN)).await?;
        require_pgvector(&owner).await?;
        let app = if replicas.urls.is_empty() {
            Database::connect(url, Schema::Store, Role::App, pool).await?
        } else {
            Database::connect_marking(url, Schema::Store, Role::App, pool).await?
        };
        let role = (Schema::Store, Role::App);
        let reads = ReadRouter::new(app.clone(), url, role, pool, replicas, on_read)?;
        Ok(Self { app, reads, owner, builder })
    }

    pub(crate) fn reap(&self) {
        for pool in [&self.app, &self.owner, &self.builder] {
            pool.reap();
        }
        self.reads.reap();
    }
}

async fn require_pgvector(database: &Database) -> Result<(), StartError> {
    let sql = "SELECT extversion FROM pg_extension WHERE extname = 'vector'";
    let version: String = database.system().query_one(sql, &[]).await?.try_get(0).map_err(DbError::from)?;
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    if (numbers.next(), numbers.next()) < (Some(0), Some(8)) {
        return Err(StartError::Pgvector(version));
    }
    Ok(())
}
