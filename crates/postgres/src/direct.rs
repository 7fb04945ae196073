//! One connection outside the pool, for work that must not share or inherit anything: migrations, and watching replicas.

use std::pin::pin;
use std::time::Duration;

use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Socket};

use crate::DbError;
use crate::dsn::{Connector, Dsn};

/// Connects, runs `work` and closes. The connection is driven by this very future: no task outlives it.
pub(crate) async fn with_connection<T>(
    dsn: &Dsn,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, DbError>,
) -> Result<T, DbError> {
    with_connection_within(Duration::MAX, dsn, work).await
}

/// The same, where opening the connection must not take longer than `patience`.
pub(crate) async fn with_connection_within<T>(
    patience: Duration,
    dsn: &Dsn,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, DbError>,
) -> Result<T, DbError> {
    match dsn.connector() {
        Connector::Plain(connector) => drive(patience, dsn, connector, work).await,
        Connector::Tls(connector) => drive(patience, dsn, connector, work).await,
    }
}

async fn drive<T, C: MakeTlsConnect<Socket>>(
    patience: Duration,
    dsn: &Dsn,
    connector: C,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, DbError>,
) -> Result<T, DbError> {
    let connected = tokio::time::timeout(patience, dsn.config.connect(connector)).await;
    let late = |_| DbError::Unavailable("opening a connection took too long".to_owned());
    let (mut client, connection) = connected.map_err(late)??;
    let mut connection = pin!(connection);
    let mut work = pin!(work(&mut client));
    tokio::select! {
        outcome = &mut work => return outcome,
        // the work learns of the loss from its own request, with a better message
        _ = &mut connection => {}
    }
    work.await
}
