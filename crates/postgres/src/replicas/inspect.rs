//! One look at a replica by somebody who does not read from it.

use std::time::Duration;

use embermesh_types::Position;
use secrecy::SecretString;
use tokio_postgres::Client;

use super::look;
use crate::{DbError, direct::with_connection_within, dsn::Dsn};

const PATIENCE: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Whether it is a standby.
    pub is_in_recovery: bool,
    /// Whether it is a copy of the primary.
    pub is_same_system: bool,
    /// The timeline that it streams; unknown where it does not stream, or this user may not know.
    pub timeline: Option<u32>,
    /// The timeline of the primary.
    pub primary_timeline: u32,
    /// Bytes of the log that it has not replayed.
    pub behind: u64,
}

/// Host and port of a replica's URL, and what is found there.
///
/// # Errors
/// [`DbError::Configuration`] when the URL is unusable.
pub async fn inspect(
    primary: &SecretString,
    replica: &SecretString,
) -> Result<(String, Result<Inspected, DbError>), DbError> {
    let (primary, replica) = (Dsn::parse(primary)?, Dsn::parse(replica)?);
    let name = replica.one_host()?;
    let found = async {
        let place =
            with_connection_within(PATIENCE, &primary, async |client| soon(look::primary(client)).await)
                .await?;
        with_connection_within(PATIENCE, &replica, async |client| soon(seen(client, place)).await).await
    };
    Ok((name, found.await))
}

async fn seen(client: &Client, primary: Position) -> Result<Inspected, DbError> {
    let server = look::server(client).await?;
    let look = look::look(client).await?;
    Ok(Inspected {
        is_in_recovery: look.is_in_recovery,
        is_same_system: server.system == primary.system,
        timeline: look.timeline,
        primary_timeline: primary.timeline,
        behind: look.replayed.map_or(0, |lsn| primary.lsn.0.saturating_sub(lsn.0)),
    })
}

async fn soon<T>(work: impl Future<Output = Result<T, DbError>>) -> Result<T, DbError> {
    let late = || DbError::Unavailable("it does not answer".to_owned());
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(late()))
}
