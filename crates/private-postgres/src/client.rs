//! The few statements that the owner itself runs.

use std::path::Path;
use std::pin::pin;

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Client, Config, Error, NoTls};

use crate::StartError;

/// The private server's only user, and the owner of everything in it.
pub(crate) const USER: &str = "embermesh";

/// Where the server is, and who comes.
#[derive(Clone, Copy)]
pub(crate) struct Login<'a> {
    pub(crate) socket_dir: &'a Path,
    pub(crate) port: u16,
    pub(crate) user: &'a str,
    pub(crate) password: &'a SecretString,
}

/// Connects to `database`, runs `work` and closes.
pub(crate) async fn with_client<T>(
    login: Login<'_>,
    database: &str,
    work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
) -> Result<T, Error> {
    let (client, connection) = Config::new()
        .host_path(login.socket_dir)
        .port(login.port)
        .user(login.user)
        .password(login.password.expose_secret())
        .dbname(database)
        .application_name("embermesh-private-postgres")
        .connect(NoTls)
        .await?;
    let mut connection = pin!(connection);
    let mut work = pin!(work(&client));
    tokio::select! {
        outcome = &mut work => return outcome,
        _ = &mut connection => {}
    }
    work.await
}

/// Creates the database and its extension where they are missing.
pub(crate) async fn ensure_database(login: Login<'_>, database: &str) -> Result<(), StartError> {
    let quoted = format!("\"{}\"", database.replace('"', "\"\""));
    with_client(login, "postgres", async |client| {
        if client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&database]).await?.is_none() {
            client.batch_execute(&format!("CREATE DATABASE {quoted} TEMPLATE template0")).await?;
        }
        Ok(())
    })
    .await
    .map_err(|error| failed(&error))?;
    with_client(login, database, async |client| {
        // what a standby has comes from its primary
        if client.query_one("SELECT pg_is_in_recovery()", &[]).await?.get(0) {
            return Ok(());
        }
        client
            .batch_execute(
                "SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS vector SCHEMA public",
            )
            .await
    })
    .await
    .map_err(|error| failed(&error))
}

fn failed(error: &Error) -> StartError {
    StartError::Database(describe(error))
}

/// The driver's own text for a refusal is merely `db error`.
pub(crate) fn describe(error: &Error) -> String {
    use std::error::Error as _;
    match (error.as_db_error(), error.source()) {
        (Some(server), _) => server.message().to_owned(),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}
