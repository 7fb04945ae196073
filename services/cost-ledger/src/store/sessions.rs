//! The rows of routers' processes.

use std::time::SystemTime;

use embermesh_postgres::{DbError, Row, Transaction};
use embermesh_types::TenantId;
use uuid::Uuid;

use super::Store;
use crate::domain::{ids::SessionId, work::Fate};

/// Leases of a tenant that are not as their session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsettled {
    pub(crate) tenant: TenantId,
    pub(crate) session: SessionId,
    pub(crate) fate: Fate,
}

/// Whether a session is still what its leases are about to become. It stays so until the transaction ends.
pub(crate) async fn holds(
    transaction: &Transaction,
    session: SessionId,
    fate: Fate,
) -> Result<bool, DbError> {
    let sql = "SELECT state FROM sessions WHERE session_id = $1 FOR SHARE";
    let row = transaction.query_opt(sql, &[&session.uuid()]).await?;
    let state = row.as_ref().map(|row| row.try_get::<_, &str>(0)).transpose()?;
    Ok(match fate {
        Fate::Lost => state == Some("lost"),
        Fate::Found => state == Some("live"),
        // whoever says so knows
        Fate::Closed => true,
    })
}

impl Store {
    /// A session was heard of. Returns whether it had not been alive.
    pub(crate) async fn touch(&self, session: SessionId, now: SystemTime) -> Result<bool, DbError> {
        let sql = "WITH before AS (SELECT state FROM sessions WHERE session_id = $1),
            written AS (
                INSERT INTO sessions (session_id, last_seen) VALUES ($1, $2)
                ON CONFLICT (session_id)
                DO UPDATE SET last_seen = greatest(sessions.last_seen, excluded.last_seen), state = 'live')
            SELECT EXISTS (SELECT FROM before WHERE state <> 'live')";
        let rows = self.database.system().execute_returning(sql, &[&session.uuid(), &now]).await?;
        rows.first().map_or(Err(DbError::RowCount(0)), |row| Ok(row.try_get(0)?))
    }

    /// A session is done.
    pub(crate) async fn close_session(&self, session: SessionId, now: SystemTime) -> Result<(), DbError> {
        let sql = "INSERT INTO sessions (session_id, last_seen, state) VALUES ($1, $2, 'closed')
            ON CONFLICT (session_id) DO UPDATE SET state = 'closed'";
        self.database.system().execute(sql, &[&session.uuid(), &now]).await.map(drop)
    }

    /// Gives up every session that was last seen before `before`.
    pub(crate) async fn lose_sessions(&self, before: SystemTime) -> Result<Vec<SessionId>, DbError> {
        let sql =
            "UPDATE sessions SET state = 'lost' WHERE state = 'live' AND last_seen < $1 RETURNING session_id";
        let rows = self.database.system().execute_returning(sql, &[&before]).await?;
        rows.iter().map(|row| Ok(SessionId::new(row.try_get(0)?))).collect()
    }

    /// The tenants that a session has leases of.
    pub(crate) async fn tenants_of(&self, session: SessionId) -> Result<Vec<TenantId>, DbError> {
        let sql = "SELECT DISTINCT tenant_id FROM leases WHERE session_id = $1 AND state <> 'closed'";
        let all = self.database.system().with("app.all_tenants", "on");
        let rows = all.query(sql, &[&session.uuid()]).await?;
        rows.iter().map(|row| Ok(TenantId::new(row.try_get(0)?))).collect()
    }

    /// Leases that are open though their session is lost, presumed though it is alive, or held though it is closed: of all
    /// sessions, or of one.
    pub(crate) async fn unsettled(&self, session: Option<SessionId>) -> Result<Vec<Unsettled>, DbError> {
        let sql = "SELECT DISTINCT l.tenant_id, l.session_id, s.state FROM leases l JOIN sessions s USING (session_id)
            WHERE l.state <> 'closed' AND NOT l.recovered AND ($1::uuid IS NULL OR l.session_id = $1)
              AND (l.state, s.state) IN (('open', 'lost'), ('presumed', 'live'))";
        let session = session.map(SessionId::uuid);
        let all = self.database.system().with("app.all_tenants", "on");
        all.query(sql, &[&session]).await?.iter().map(unsettled).collect()
    }

    /// Forgets sessions without leases that were last seen before `before`.
    pub(crate) async fn forget_sessions(&self, before: SystemTime) -> Result<(), DbError> {
        let sql = "DELETE FROM sessions s WHERE last_seen < $1 AND NOT EXISTS (
                SELECT FROM leases l WHERE l.session_id = s.session_id AND l.state <> 'closed' AND NOT l.recovered)";
        let all = self.database.system().with("app.all_tenants", "on");
        all.execute(sql, &[&before]).await.map(drop)
    }
}

fn unsettled(row: &Row) -> Result<Unsettled, DbError> {
    let (tenant, session): (Uuid, Uuid) = (row.try_get("tenant_id")?, row.try_get("session_id")?);
    let fate = if row.try_get::<_, &str>("state")? == "lost" { Fate::Lost } else { Fate::Found };
    Ok(Unsettled { tenant: TenantId::new(tenant), session: SessionId::new(session), fate })
}
