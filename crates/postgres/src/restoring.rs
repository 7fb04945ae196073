//! What a restore and regular maintenance do to a database, whatever is in it.

use std::time::Duration;

use secrecy::SecretString;

use crate::{Database, DbError, PoolConfig, Role, Schema, direct::with_connection, dsn::Dsn, roles};

/// Creates the shared roles, which no dump of a database holds, and opens the schemas that are there by now to them.
///
/// # Errors
/// As [`migrate`](crate::migrate).
pub async fn prepare_for_restore(url: &SecretString, schemas: &[Schema]) -> Result<(), DbError> {
    with_connection(&Dsn::parse(url)?, async |client| {
        client.batch_execute("SET client_min_messages = warning").await?;
        roles::ensure(client).await?;
        for schema in schemas {
            roles::grant(client, *schema).await?;
        }
        Ok(())
    })
    .await
}

/// Vacuums and analyzes every table of a schema, one after the other; returns how many.
///
/// # Errors
/// As any query. The user must own the tables.
pub async fn tidy(url: &SecretString, schema: Schema) -> Result<usize, DbError> {
    let limits = PoolConfig { statement_timeout: Duration::ZERO, ..PoolConfig::default() };
    let database = Database::connect(url, schema, Role::Owner, &limits).await?;
    let sql = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY 1";
    let tables = database.system().query(sql, &[&schema.name()]).await?;
    for row in &tables {
        let table: String = row.try_get(0)?;
        database.system().batch_execute(&format!("VACUUM (ANALYZE) {table}")).await?;
    }
    Ok(tables.len())
}
