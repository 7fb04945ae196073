//! One connection outside the pool, for work that must not share or inherit anything: migrations.

use std::pin::pin;

use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Socket};

use crate::DbError;
use crate::dsn::{Connector, Dsn};

/// Connects, runs `work` and closes. The connection is driven by this very future: no task outlives it.
pub(crate) async fn with_connection<T>(
    dsn: &Dsn,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, DbError>,
) -> Result<T, DbError> {
    match dsn.connector() {
        Connector::Plain(connector) => drive(dsn, connector, work).await,
        Connector::Tls(connector) => drive(dsn, connector, work).await,
    }
}

async fn drive<T, C: MakeTlsConnect<Socket>>(
    dsn: &Dsn,
    connector: C,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, DbError>,
) -> Result<T, DbError> {
    let (mut client, connection) = dsn.config.connect(connector).await?;
    let mut connection = pin!(connection);
    let mut work = pin!(work(&mut client));
    tokio::select! {
        outcome = &mut work => return outcome,
        // the work learns of the loss from its own request, with a better message
        _ = &mut connection => {}
    }
    work.await
}
