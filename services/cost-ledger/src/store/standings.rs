//! Balances for whoever looks at them and decides nothing: no locks, any number of accounts, of one tenant or of all.

use embermesh_escrow::Amount;
use embermesh_postgres::{DbError, Row, Session};
use embermesh_types::TenantId;
use jiff::civil::Date;
use uuid::Uuid;

use super::Store;
use crate::domain::balance::{Balance, BalanceKey};

/// Accounts that one statement looks up.
const AT_ONCE: usize = 1000;

impl Store {
    /// The balances of a tenant's accounts, in the order of `keys`.
    pub(crate) async fn standings(
        &self,
        tenant: TenantId,
        keys: &[BalanceKey],
    ) -> Result<Vec<Balance>, DbError> {
        let session = self.database.tenant(tenant.uuid());
        standings(&session, &keys.iter().map(|key| (tenant, key)).collect::<Vec<_>>()).await
    }

    /// As [`Store::standings`], over all tenants.
    pub(crate) async fn standings_of_all(
        &self,
        keys: &[(TenantId, &BalanceKey)],
    ) -> Result<Vec<Balance>, DbError> {
        let session = self.database.system().with("app.all_tenants", "on");
        standings(&session, keys).await
    }
}

async fn standings(session: &Session<'_>, keys: &[(TenantId, &BalanceKey)]) -> Result<Vec<Balance>, DbError> {
    let sql = "SELECT k.at, b.* FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::date[]) WITH ORDINALITY
            AS k (tenant_id, scope, subject, period, period_start, at),
        LATERAL (SELECT spent, reserved, leased, presumed FROM balances
                 WHERE tenant_id = k.tenant_id AND scope = k.scope AND subject = k.subject AND period = k.period
                   AND period_start = k.period_start) AS b";
    // each by its whole key, however few rows the planner thinks there are
    let session = session.clone().with("enable_seqscan", "off").with("jit", "off");
    let mut balances = Vec::with_capacity(keys.len());
    for keys in keys.chunks(AT_ONCE) {
        let first = balances.len();
        balances.resize(first + keys.len(), Balance::default());
        let tenants: Vec<Uuid> = keys.iter().map(|(tenant, _)| tenant.uuid()).collect();
        let text =
            |of: fn(&BalanceKey) -> &str| -> Vec<&str> { keys.iter().map(|(_, key)| of(key)).collect() };
        let (scopes, subjects) = (text(|key| key.scope.as_str()), text(|key| &key.subject));
        let periods = text(|key| key.period.as_str());
        let starts: Vec<Date> = keys.iter().map(|(_, key)| key.start).collect();
        for row in session.query(sql, &[&tenants, &scopes, &subjects, &periods, &starts]).await? {
            let at = usize::try_from(row.try_get::<_, i64>("at")?).unwrap_or_default();
            if let Some(place) = balances[first..].get_mut(at.wrapping_sub(1)) {
                *place = balance(&row)?;
            }
        }
    }
    Ok(balances)
}

fn balance(row: &Row) -> Result<Balance, DbError> {
    Ok(Balance {
        spent: Amount(row.try_get("spent")?),
        reserved: Amount(row.try_get("reserved")?),
        leased: Amount(row.try_get("leased")?),
        presumed: Amount(row.try_get("presumed")?),
    })
}
