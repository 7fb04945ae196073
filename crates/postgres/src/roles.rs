//! The roles that all schemas share, created without races and without needing more rights than there are.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::{DbError, Schema};

/// Takes every request of the services; owns nothing and obeys row-level security.
pub const APP_ROLE: &str = "embermesh_app";

/// Reads everything past row-level security. It cannot log in until an operator gives it a password.
pub const OPERATOR_ROLE: &str = "embermesh_operator";

/// Roles belong to the whole server, so migrations of other databases may be doing the same at this moment, where no
/// lock of this database reaches. PostgreSQL reports such a meeting as an internal error of a concurrent update.
const ATTEMPTS: u32 = 20;

/// Creates what is missing, and lets the migrating user take the application role.
///
/// # Errors
/// [`DbError::Denied`] when the application role is missing and the user may not create it. A missing operator role is
/// only logged: it serves people at psql.
pub(crate) async fn ensure(client: &Client) -> Result<(), DbError> {
    let app = format!(
        "DO $$ BEGIN
           IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{APP_ROLE}') THEN
             CREATE ROLE {APP_ROLE} NOLOGIN;
           END IF;
           -- since PostgreSQL 16 whoever creates a role is its member, yet may not become it
           IF NOT pg_has_role(current_user, '{APP_ROLE}',
                CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
             GRANT {APP_ROLE} TO CURRENT_USER;
           END IF;
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
         END $$"
    );
    repeat(client, &app).await?;
    let operator = format!(
        "DO $$ BEGIN
           IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{OPERATOR_ROLE}') THEN
             CREATE ROLE {OPERATOR_ROLE} NOLOGIN BYPASSRLS;
             ALTER ROLE {OPERATOR_ROLE} SET search_path = store, ledger, admin, public;
             ALTER ROLE {OPERATOR_ROLE} SET default_transaction_read_only = on;
           END IF;
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
         END $$"
    );
    match repeat(client, &operator).await {
        Err(DbError::Denied(reason)) => {
            tracing::warn!(
                reason,
                role = OPERATOR_ROLE,
                "the operator role is missing and this user may not create it"
            );
            Ok(())
        }
        outcome => outcome,
    }
}

/// Opens a schema to the roles: the application may enter it (each migration grants its own tables, because a
/// partition reached directly would bypass its parent's policies), the operator may read all of it.
pub(crate) async fn grant(client: &Client, schema: Schema) -> Result<(), DbError> {
    client
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO {APP_ROLE};
             DO $$ BEGIN
               IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{OPERATOR_ROLE}') THEN
                 GRANT USAGE ON SCHEMA {schema} TO {OPERATOR_ROLE};
                 GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {OPERATOR_ROLE};
                 ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {OPERATOR_ROLE};
               END IF;
             END $$"
        ))
        .await?;
    Ok(())
}

async fn repeat(client: &Client, sql: &str) -> Result<(), DbError> {
    let mut attempt = 1;
    loop {
        match client.batch_execute(sql).await {
            Err(error) if error.code() == Some(&SqlState::INTERNAL_ERROR) && attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(5) * attempt).await;
                attempt += 1;
            }
            outcome => return Ok(outcome?),
        }
    }
}
