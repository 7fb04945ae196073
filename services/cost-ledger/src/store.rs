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

use crate::domain::{attempt::Attempt, work};

pub(crate) use batch::Outcome;

/// Every migration of the schema, in order.
pub(crate) const MIGRATIONS: [Migration; 1] =
    [Migration { name: "V001__books", sql: include_str!("../../../migrations/ledger/V001__books.sql") }];

/// Months that partitions are made ahead of.
const MONTHS_AHEAD: i32 = 3;

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

    /// Attempts of any tenant that were reserved before `before` and never settled, with the request that each was made for.
    pub(crate) async fn overdue(
        &self,
        before: SystemTime,
    ) -> Result<Vec<(TenantId, Attempt, work::Charge, SystemTime)>, DbError> {
        let sql = "SELECT tenant_id, created_at, request_id, key_id, tokens_bound, attempt_id, state, agent_id, provider,
                          model, reserved_nano_usd, amount_nano_usd, tokens, day, reserved_at
                   FROM attempts WHERE state = 'reserved' AND reserved_at < $1 ORDER BY reserved_at LIMIT 500";
        let rows = self.database.system().with("app.all_tenants", "on").query(sql, &[&before]).await?;
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
                Ok((TenantId::new(row.try_get("tenant_id")?), attempt, charge, row.try_get("created_at")?))
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
