//! Shares of limits that were passed. A row is written once, whoever comes first.

use std::time::SystemTime;

use embermesh_escrow::{Period, Scope};
use embermesh_postgres::{DbError, Row};
use embermesh_types::{NanoUsd, TenantId};
use jiff::civil::Date;

use super::{Store, rows::unreadable};
use crate::domain::balance::BalanceKey;

/// A share of a limit that was passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) key: BalanceKey,
    pub(crate) percent: u32,
    pub(crate) limit: NanoUsd,
    pub(crate) used: NanoUsd,
    pub(crate) reached_at: SystemTime,
}

const COLUMNS: &str =
    "scope, subject, period, period_start, percent, limit_nano_usd, used_nano_usd, reached_at";

impl Store {
    /// Writes down what was passed; returns what nobody had written before.
    pub(crate) async fn pass(&self, tenant: TenantId, passed: &[Passed]) -> Result<Vec<Passed>, DbError> {
        let sql = format!(
            "INSERT INTO budget_alerts (tenant_id, {COLUMNS})
             SELECT $1, p.* FROM unnest($2::text[], $3::text[], $4::text[], $5::date[], $6::int[], $7::bigint[], $8::bigint[],
                $9::timestamptz[]) AS p
             ON CONFLICT DO NOTHING RETURNING {COLUMNS}"
        );
        let text =
            |of: fn(&BalanceKey) -> &str| -> Vec<&str> { passed.iter().map(|one| of(&one.key)).collect() };
        let (scopes, subjects) = (text(|key| key.scope.as_str()), text(|key| &key.subject));
        let periods = text(|key| key.period.as_str());
        let starts: Vec<Date> = passed.iter().map(|one| one.key.start).collect();
        let percents: Vec<i32> =
            passed.iter().map(|one| i32::try_from(one.percent).unwrap_or(i32::MAX)).collect();
        let limits: Vec<i64> = passed.iter().map(|one| one.limit.0).collect();
        let used: Vec<i64> = passed.iter().map(|one| one.used.0).collect();
        let times: Vec<SystemTime> = passed.iter().map(|one| one.reached_at).collect();
        let session = self.database.tenant(tenant.uuid());
        let rows = session
            .execute_returning(
                &sql,
                &[&tenant.uuid(), &scopes, &subjects, &periods, &starts, &percents, &limits, &used, &times],
            )
            .await?;
        rows.iter().map(read).collect()
    }

    /// What a tenant has passed in the day and the month of `day`, in the order of time.
    pub(crate) async fn passed(&self, tenant: TenantId, day: Date) -> Result<Vec<Passed>, DbError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM budget_alerts
             WHERE (period = 'day' AND period_start = $1) OR (period = 'month' AND period_start = $2)
             ORDER BY reached_at, percent"
        );
        let (days, months) = (Period::Day.start(day), Period::Month.start(day));
        let rows = self.database.tenant(tenant.uuid()).query(&sql, &[&days, &months]).await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &Row) -> Result<Passed, DbError> {
    let period: &str = row.try_get("period")?;
    let period = Period::BOTH.into_iter().find(|known| known.as_str() == period);
    Ok(Passed {
        key: BalanceKey {
            scope: Scope::parse(row.try_get("scope")?).ok_or_else(|| unreadable("scope"))?,
            subject: row.try_get("subject")?,
            period: period.ok_or_else(|| unreadable("period"))?,
            start: row.try_get("period_start")?,
        },
        percent: u32::try_from(row.try_get::<_, i32>("percent")?).map_err(|_| unreadable("percent"))?,
        limit: NanoUsd(row.try_get("limit_nano_usd")?),
        used: NanoUsd(row.try_get("used_nano_usd")?),
        reached_at: row.try_get("reached_at")?,
    })
}
