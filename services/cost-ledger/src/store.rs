//! The only SQL of the ledger.

mod balances;
mod batch;
mod charges;
mod reports;
mod rows;

use std::time::SystemTime;

use embermesh_errors::Error;
use embermesh_postgres::{Database, DbError, Migration};
use embermesh_types::TenantId;
use jiff::civil::Date;
use uuid::Uuid;

use crate::domain::{attempt::Attempt, work};

pub(crate) use batch::Outcome;

/// Every migration of the schema, in order.
pub(crate) const MIGRATIONS: [Migration; 1] =
    [Migration { name: "V001__books", sql: include_str!("../../../migrations/ledger/V001__books.sql") }];

/// Months that partitions are made ahead of.
const MONTHS_AHEAD: i32 = 3;

/// An attempt that nobody settled in time.
#[derive(Debug)]
pub(crate) struct Overdue {
    pub(crate) tenant: TenantId,
    pub(crate) attempt: Attempt,
    pub(crate) created_at: SystemTime,
    /// All of it, to the request that it was made for.
    pub(crate) charge: work::Charge,
}

/// Where an overdue attempt stands in the order of age.
pub(crate) type Place = (SystemTime, Uuid, Uuid);

impl Overdue {
    pub(crate) fn place(&self) -> Place {
        (self.attempt.reserved_at, self.tenant.uuid(), self.attempt.id.uuid())
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

    /// The oldest attempts of any tenant that were reserved before `before` and never settled, from the place after `last` on.
    pub(crate) async fn overdue(
        &self,
        before: SystemTime,
        last: Option<Place>,
    ) -> Result<Vec<Overdue>, DbError> {
        let sql = "SELECT tenant_id, created_at, request_id, key_id, tokens_bound, attempt_id, state, agent_id, provider,
                          model, reserved_nano_usd, amount_nano_usd, tokens, day, reserved_at
                   FROM attempts
                   WHERE state = 'reserved' AND reserved_at < $1 AND (reserved_at, tenant_id, attempt_id) > ($2, $3, $4)
                   ORDER BY reserved_at, tenant_id, attempt_id LIMIT 500";
        let (time, tenant, id) = last.unwrap_or((SystemTime::UNIX_EPOCH, Uuid::nil(), Uuid::nil()));
        let session = self.database.system().with("app.all_tenants", "on");
        let rows = session.query(sql, &[&before, &time, &tenant, &id]).await?;
        rows.iter()
            .map(|row| {
                let attempt = rows::attempt(row)?;
                let charge = work::Charge {
                    request: rows::parsed(row, "request_id")?,
                    agent: attempt.agent.clone(),
                    key: rows::parsed(row, "key_id")?,
                    tokens: row.try_get("tokens_bound")?,
                    amount: attempt.reserved,
                    inputs: 0,
                };
                let tenant = TenantId::new(row.try_get("tenant_id")?);
                Ok(Overdue { tenant, attempt, created_at: row.try_get("created_at")?, charge })
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
