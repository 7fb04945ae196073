//! Brings a schema to the version of this build. Each service embeds its own migrations and knows no others.

use std::time::Duration;

use refinery::Runner;
use secrecy::SecretString;
use tokio_postgres::Client;

use crate::direct::with_connection;
use crate::dsn::Dsn;
use crate::{DbError, Schema, roles};

const HISTORY: &str = "schema_history";
const LOCK_POLL: Duration = Duration::from_millis(50);

/// One migration, embedded with `include_str!`. Once released it never changes: its checksum is compared at every
/// start.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// `V<number>__<name>`, as the file is called, without `.sql`.
    pub name: &'static str,
    /// The statements; they run in one transaction, with the schema first in `search_path`.
    pub sql: &'static str,
}

/// Creates the schema and the shared roles where they are missing, and applies what has not been applied, each
/// migration in a transaction of its own. Returns the names of those applied now.
///
/// Any number of replicas may call it at once: one works, the others wait and find nothing to do. A history that is
/// *ahead* of this build is accepted, so that an old replica can restart during a rolling update.
///
/// `url` must log in as the owner of the schema, or as a user who may create it.
///
/// # Errors
/// [`DbError::Migration`] when a migration fails, when an applied one was changed since, or when one was slipped in
/// below the current version; otherwise as any query.
pub async fn migrate(
    url: &SecretString,
    schema: Schema,
    migrations: &[Migration],
) -> Result<Vec<String>, DbError> {
    let runner = runner(schema, migrations)?;
    with_connection(&Dsn::parse(url)?, async |client| {
        // the lock and everything else of this session ends with the connection
        lock(client, schema).await?;
        client.batch_execute("SET client_min_messages = warning; SET statement_timeout = 0").await?;
        roles::ensure(client).await?;
        client
            .batch_execute(&format!(
                "CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path = {schema}, public"
            ))
            .await?;
        let applied = apply(client, schema, &runner).await?;
        if !applied.is_empty() {
            roles::grant(client, schema).await?;
            tracing::info!(%schema, migrations = ?applied, "migrated");
        }
        Ok(applied)
    })
    .await
}

fn runner(schema: Schema, migrations: &[Migration]) -> Result<Runner, DbError> {
    let parsed = migrations
        .iter()
        .map(|migration| refinery::Migration::unapplied(migration.name, migration.sql))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failure(schema, &error))?;
    let mut runner = Runner::new(&parsed).set_abort_divergent(true).set_abort_missing(false);
    runner.set_migration_table_name(HISTORY);
    Ok(runner)
}

async fn apply(client: &mut Client, schema: Schema, runner: &Runner) -> Result<Vec<String>, DbError> {
    let report = runner.run_async(client).await.map_err(|error| failure(schema, &error))?;
    // with a history ahead of the build allowed, refinery merely logs a migration slipped in below it
    let history =
        runner.get_applied_migrations_async(client).await.map_err(|error| failure(schema, &error))?;
    if let Some(skipped) = runner
        .get_migrations()
        .iter()
        .find(|ours| history.iter().all(|done| done.version() != ours.version()))
    {
        return Err(DbError::Migration {
            schema: schema.name(),
            reason: format!(
                "{skipped} was added below a version that is already applied; give it a higher number"
            ),
        });
    }
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

/// Polls instead of waiting inside PostgreSQL: a waiting statement holds a snapshot, and `CREATE INDEX CONCURRENTLY`
/// of the one who has the lock would wait for that snapshot for ever.
async fn lock(client: &Client, schema: Schema) -> Result<(), DbError> {
    let statement =
        client.prepare("SELECT pg_try_advisory_lock(hashtext('embermesh migrations'), hashtext($1))").await?;
    loop {
        if client.query_one(&statement, &[&schema.name()]).await?.try_get(0)? {
            return Ok(());
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// The migration's own SQL is ours, so its messages may be shown; detail lines may quote rows and may not.
fn failure(schema: Schema, error: &refinery::Error) -> DbError {
    use std::error::Error as _;
    let server = error.source().and_then(|cause| cause.downcast_ref::<tokio_postgres::Error>());
    let reason = match server.and_then(tokio_postgres::Error::as_db_error) {
        Some(cause) => format!("{error}: {} ({})", cause.message(), cause.code().code()),
        None => error.to_string(),
    };
    DbError::Migration { schema: schema.name(), reason }
}

#[cfg(test)]
mod tests;
