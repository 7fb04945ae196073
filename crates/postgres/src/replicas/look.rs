//! What a server is asked about itself. Texts only, one round trip each.

use embermesh_types::{Lsn, Position};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::board::Look;
use crate::{DbError, write_mark::position};

/// A server from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub system: u64,
    /// When it started, and when it began to recover, as text.
    pub incarnation: String,
}

/// Tells one start of a server from the next. A standby of which one process is killed recovers anew, and may then show less than
/// before, without a new start of the whole: its startup process tells. Asked as the user that logged in, for the application's role
/// may not see that.
pub(crate) const INCARNATION: &str = "SELECT concat(extract(epoch FROM pg_postmaster_start_time()), ' ', (
    SELECT extract(epoch FROM max(backend_start)) FROM pg_stat_activity WHERE backend_type = 'startup'))";

pub(super) async fn server(client: &Client) -> Result<Server, DbError> {
    let system = "SELECT system_identifier FROM pg_control_system()";
    let values = values(client, &format!("{INCARNATION}; {system}")).await?;
    match &values[..] {
        [Some(incarnation), Some(system)] => Ok(Server {
            system: system.parse().map_err(|_| garbled("the identifier of the cluster"))?,
            incarnation: incarnation.clone(),
        }),
        _ => Err(garbled("who it is")),
    }
}

/// The place is read before the timeline: a standby that moves on to another timeline between the two then seems to have come less
/// far than it has. The timeline is that of the stream, and known only while there is one: what is replayed out of an archive may be
/// of any timeline.
pub(super) async fn look(client: &Client) -> Result<Look, DbError> {
    let sql = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn();
        SELECT max(received_tli) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
    let values = values(client, sql).await?;
    let [Some(recovery), replayed, timeline] = &values[..] else {
        return Err(garbled("how far it has come"));
    };
    let replayed: Option<Lsn> = replayed.as_deref().and_then(|text| text.parse().ok());
    let timeline = timeline.as_deref().and_then(|text| text.parse().ok());
    Ok(Look { is_in_recovery: recovery == "t", replayed, timeline })
}

pub(super) async fn primary(client: &Client) -> Result<Position, DbError> {
    let sql = "SELECT system_identifier FROM pg_control_system();
        SELECT pg_walfile_name(lsn), lsn FROM (SELECT pg_current_wal_flush_lsn() AS lsn OFFSET 0) AS now";
    let values = values(client, sql).await?;
    match &values[..] {
        [Some(system), Some(file), Some(lsn)] => position(system, file, lsn),
        _ => None,
    }
    .ok_or_else(|| garbled("where its log is"))
}

async fn values(client: &Client, sql: &str) -> Result<Vec<Option<String>>, DbError> {
    let mut values = Vec::new();
    for message in client.simple_query(sql).await? {
        if let SimpleQueryMessage::Row(row) = message {
            values.extend((0..row.len()).map(|column| row.get(column).map(str::to_owned)));
        }
    }
    Ok(values)
}

fn garbled(what: &str) -> DbError {
    DbError::Protocol(format!("the server does not say {what}"))
}
