//! The only SQL of the ledger.

mod alerts;
mod attempts;
mod backup_runs;
mod balances;
mod batch;
mod charges;
mod leases;
mod parts;
mod recoveries;
mod reports;
mod rows;
mod sessions;
mod standings;
mod verify;

use std::time::SystemTime;

use embermesh_errors::Error;
use embermesh_postgres::{Database, DbError, Migration};
use embermesh_types::{AttemptId, NanoUsd, TenantId};
use jiff::civil::Date;
use uuid::Uuid;

use crate::domain::post::Attempted;

pub(crate) use alerts::Passed;
pub use backup_runs::BackupRun;
pub(crate) use batch::{Circumstances, Trust};
pub(crate) use leases::CalledBack;
pub use recoveries::Reconciled;
pub(crate) use sessions::Unsettled;
pub(crate) use verify::{Difference, MOST_DIFFERENCES, Verified};

/// Every migration of the schema, in order.
pub(crate) const MIGRATIONS: [Migration; 6] = [
    Migration { name: "V001__books", sql: include_str!("../../../migrations/ledger/V001__books.sql") },
    Migration {
        name: "V002__shared_attempts",
        sql: include_str!("../../../migrations/ledger/V002__shared_attempts.sql"),
    },
    Migration {
        name: "V003__leases_and_accounts",
        sql: include_str!("../../../migrations/ledger/V003__leases_and_accounts.sql"),
    },
    Migration {
        name: "V004__budget_alerts",
        sql: include_str!("../../../migrations/ledger/V004__budget_alerts.sql"),
    },
    Migration { name: "V005__quotas", sql: include_str!("../../../migrations/ledger/V005__quotas.sql") },
    Migration {
        name: "V006__recoveries",
        sql: include_str!("../../../migrations/ledger/V006__recoveries.sql"),
    },
];

/// Months that partitions are made ahead of.
const MONTHS_AHEAD: i32 = 3;

/// An attempt that nobody settled in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overdue {
    pub(crate) tenant: TenantId,
    pub(crate) attempt: Attempted,
    pub(crate) reserved: NanoUsd,
    reserved_at: SystemTime,
}

/// Where an overdue attempt stands in the order of age.
pub(crate) type Place = (SystemTime, Uuid, Uuid);

/// How long attempts may be open: those reserved before a time are overdue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Where nobody answers for them.
    pub(crate) alone: SystemTime,
    /// Where their router is alive.
    pub(crate) attended: SystemTime,
}

impl Overdue {
    pub(crate) fn place(&self) -> Place {
        (self.reserved_at, self.tenant.uuid(), self.attempt.attempt.uuid())
    }
}

/// Access to the schema `ledger`. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    database: Database,
}

impl Store {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Makes the partitions around `today` that are missing; returns how many.
    pub(crate) async fn make_partitions(&self, today: Date) -> Result<i32, DbError> {
        let session = self.database.system();
        let rows =
            session.execute_returning("SELECT make_partitions($1, $2)", &[&today, &MONTHS_AHEAD]).await?;
        rows.first().map_or(Err(DbError::RowCount(0)), |row| Ok(row.try_get(0)?))
    }

    /// The oldest attempts of any tenant that have no end and are overdue, or whose router is gone, from the place after `last` on.
    pub(crate) async fn overdue(
        &self,
        patience: Patience,
        last: Option<Place>,
    ) -> Result<Vec<Overdue>, DbError> {
        let sql = "SELECT a.tenant_id, a.attempt_id, a.created_at, a.reserved_at, a.reserved_nano_usd FROM attempts a
            WHERE a.state = 'reserved' AND a.reserved_at < $1 AND (a.reserved_at, a.tenant_id, a.attempt_id) > ($3, $4, $5)
              AND NOT (a.reserved_at >= $2 AND EXISTS (
                  SELECT FROM sessions s WHERE s.session_id = a.session_id AND s.state = 'live'))
            UNION
            SELECT a.tenant_id, a.attempt_id, a.created_at, a.reserved_at, a.reserved_nano_usd
            FROM sessions s JOIN attempts a USING (session_id)
            WHERE s.state <> 'live' AND a.state = 'reserved' AND (a.reserved_at, a.tenant_id, a.attempt_id) > ($3, $4, $5)
            ORDER BY reserved_at, tenant_id, attempt_id LIMIT 500";
        let (time, tenant, id) = last.unwrap_or((SystemTime::UNIX_EPOCH, Uuid::nil(), Uuid::nil()));
        let session = self.database.system().with("app.all_tenants", "on");
        let rows = session.query(sql, &[&patience.alone, &patience.attended, &time, &tenant, &id]).await?;
        rows.iter()
            .map(|row| {
                Ok(Overdue {
                    tenant: TenantId::new(row.try_get("tenant_id")?),
                    attempt: Attempted {
                        attempt: AttemptId::new(row.try_get("attempt_id")?),
                        created_at: row.try_get("created_at")?,
                    },
                    reserved: NanoUsd(row.try_get("reserved_nano_usd")?),
                    reserved_at: row.try_get("reserved_at")?,
                })
            })
            .collect()
    }
}

/// What a caller is told of a failure in the database; the log gets the cause.
pub(crate) fn failed(error: &DbError) -> Error {
    if error.is_retryable() || matches!(error, DbError::Cancelled(_)) {
        tracing::warn!(%error, "database is not available");
        return Error::unavailable("the ledger's database is not available, try again");
    }
    tracing::error!(%error, "database operation failed");
    Error::internal("the ledger's database refused an operation, see the log of the ledger")
}

#[cfg(test)]
mod tests;
