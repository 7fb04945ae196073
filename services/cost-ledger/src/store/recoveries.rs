//! What is done to the books once they were brought back to an earlier time.

use std::time::SystemTime;

use embermesh_postgres::DbError;

use super::Store;

/// The books when their budgets open again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconciled {
    /// What they had been brought back to.
    pub restored_to: SystemTime,
    /// Attempts of later than that, which routers had on disk.
    pub told_again: i64,
    /// Attempts whose end nobody has told. They are charged at their bounds now.
    pub open: i64,
    /// Nano-dollars that stay out of reach until their days end, because they may have been spent in what was lost.
    pub presumed: i64,
}

impl Store {
    /// Whether budgets are closed.
    pub(crate) async fn is_recovering(&self) -> Result<bool, DbError> {
        let sql = "SELECT EXISTS (SELECT FROM recoveries WHERE reconciled_at IS NULL)";
        self.database.system().query_one(sql, &[]).await?.try_get(0).map_err(Into::into)
    }

    /// Closes budgets and presumes every lease. May be repeated.
    pub(crate) async fn mark_recovered(&self, to: SystemTime, now: SystemTime) -> Result<(), DbError> {
        let sql = "INSERT INTO recoveries (restored_to, marked_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        self.database.system().execute(sql, &[&to, &now]).await?;
        let sql = "UPDATE sessions SET state = 'lost' WHERE state = 'live'";
        self.database.system().execute(sql, &[]).await?;
        for tenant in self.tenants().await? {
            let transaction = self.database.tenant(tenant.uuid()).begin().await?;
            let sql = "UPDATE leases SET state = 'presumed', recovered = true WHERE tenant_id = $1 AND state <> 'closed'";
            transaction.execute(sql, &[&tenant.uuid()]).await?;
            let sql = "UPDATE balances SET presumed = presumed + leased, leased = 0 WHERE tenant_id = $1 AND leased > 0";
            transaction.execute(sql, &[&tenant.uuid()]).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Opens budgets again; `None` when they are open.
    pub(crate) async fn reconcile(&self, now: SystemTime) -> Result<Option<Reconciled>, DbError> {
        let all = self.database.system().with("app.all_tenants", "on");
        let sql = "SELECT r.restored_to,
                (SELECT count(*) FROM attempts a WHERE a.reserved_at > r.restored_to),
                (SELECT count(*) FROM attempts a WHERE a.state = 'reserved'),
                (SELECT coalesce(sum(b.presumed), 0)::bigint FROM balances b
                 WHERE b.scope = 'tenant' AND b.period = 'day' AND b.period_start >= (r.restored_to AT TIME ZONE 'UTC')::date)
            FROM recoveries r WHERE r.reconciled_at IS NULL";
        let Some(row) = all.query_opt(sql, &[]).await? else { return Ok(None) };
        let reconciled = Reconciled {
            restored_to: row.try_get(0)?,
            told_again: row.try_get(1)?,
            open: row.try_get(2)?,
            presumed: row.try_get(3)?,
        };
        let sql = "UPDATE recoveries SET reconciled_at = $1 WHERE reconciled_at IS NULL";
        self.database.system().execute(sql, &[&now]).await?;
        Ok(Some(reconciled))
    }
}
