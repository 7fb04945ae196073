//! Balances: locked in one order by everybody, then written once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use embermesh_escrow::{Amount, Period, Scope};
use embermesh_postgres::{DbError, Row, Transaction, together, types::ToSql};
use embermesh_types::TenantId;
use jiff::civil::Date;

use super::rows::unreadable;
use crate::domain::balance::{Balance, BalanceKey, Delta};

/// Locks the balances until the transaction ends, making those that are missing.
pub(crate) async fn lock(
    transaction: &Transaction,
    tenant: TenantId,
    keys: &BTreeSet<BalanceKey>,
) -> Result<HashMap<BalanceKey, Balance>, DbError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let columns = Columns::of(keys);
    let found = select(transaction, tenant, &columns).await?;
    if found.len() == keys.len() {
        return Ok(found);
    }
    let insert = "INSERT INTO balances (tenant_id, scope, subject, period, period_start)
        SELECT $1, k.* FROM unnest($2::text[], $3::text[], $4::text[], $5::date[]) AS k ON CONFLICT DO NOTHING";
    let Columns { scopes, subjects, periods, starts } = &columns;
    transaction.execute(insert, &[&tenant.uuid(), scopes, subjects, periods, starts]).await?;
    select(transaction, tenant, &columns).await
}

async fn select(
    transaction: &Transaction,
    tenant: TenantId,
    columns: &Columns<'_>,
) -> Result<HashMap<BalanceKey, Balance>, DbError> {
    // in the order of the keys, which is everybody's
    let sql = "SELECT b.* FROM unnest($2::text[], $3::text[], $4::text[], $5::date[]) AS k (scope, subject, period, start),
        LATERAL (SELECT scope, subject, period, period_start, spent, reserved, leased, presumed FROM balances
                 WHERE tenant_id = $1 AND scope = k.scope AND subject = k.subject AND period = k.period
                   AND period_start = k.start
                 FOR UPDATE) AS b";
    let Columns { scopes, subjects, periods, starts } = columns;
    let rows = transaction.query(sql, &[&tenant.uuid(), scopes, subjects, periods, starts]).await?;
    rows.iter().map(balance).collect()
}

/// Adds up, in a statement for each, which a join would not be faster than. The limit is checked once more by the statement that
/// writes, so that no defect of this process can pass it.
pub(crate) async fn add(
    transaction: &Transaction,
    tenant: TenantId,
    deltas: &BTreeMap<BalanceKey, Delta>,
) -> Result<(), DbError> {
    let sql = "UPDATE balances SET spent = spent + $6, reserved = reserved + $7, leased = leased + $8, presumed = presumed + $9
        WHERE tenant_id = $1 AND scope = $2 AND subject = $3 AND period = $4 AND period_start = $5
          AND ($10::bigint = 0 OR $11::bigint IS NULL OR spent + reserved + leased + presumed + $10 <= $11)";
    let tenant = tenant.uuid();
    let add = async |key: &BalanceKey, delta: &Delta| {
        let (scope, period) = (key.scope.as_str(), key.period.as_str());
        let Delta { spent, reserved, leased, presumed, admitted, limit } = delta;
        let parameters: [&(dyn ToSql + Sync); 11] = [
            &tenant,
            &scope,
            &key.subject,
            &period,
            &key.start,
            spent,
            reserved,
            leased,
            presumed,
            admitted,
            limit,
        ];
        super::batch::all(transaction.execute(sql, &parameters).await?, 1)
    };
    together(deltas.iter().map(|(key, delta)| add(key, delta))).await.map(drop)
}

struct Columns<'a> {
    scopes: Vec<&'static str>,
    subjects: Vec<&'a str>,
    periods: Vec<&'static str>,
    starts: Vec<Date>,
}

impl<'a> Columns<'a> {
    fn of(keys: impl IntoIterator<Item = &'a BalanceKey>) -> Self {
        let (mut scopes, mut subjects) = (Vec::new(), Vec::new());
        let (mut periods, mut starts) = (Vec::new(), Vec::new());
        for key in keys {
            scopes.push(key.scope.as_str());
            subjects.push(key.subject.as_str());
            periods.push(key.period.as_str());
            starts.push(key.start);
        }
        Self { scopes, subjects, periods, starts }
    }
}

fn balance(row: &Row) -> Result<(BalanceKey, Balance), DbError> {
    let (scope, period): (&str, &str) = (row.try_get("scope")?, row.try_get("period")?);
    let key = BalanceKey {
        scope: Scope::parse(scope).ok_or_else(|| unreadable("scope"))?,
        subject: row.try_get("subject")?,
        period: Period::BOTH
            .into_iter()
            .find(|known| known.as_str() == period)
            .ok_or_else(|| unreadable("period"))?,
        start: row.try_get("period_start")?,
    };
    let amount = |column| row.try_get(column).map(Amount);
    let balance = Balance {
        spent: amount("spent")?,
        reserved: amount("reserved")?,
        leased: amount("leased")?,
        presumed: amount("presumed")?,
    };
    Ok((key, balance))
}
