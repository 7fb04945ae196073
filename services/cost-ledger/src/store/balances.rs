//! Balances: locked in one order by everybody, then written once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use embermesh_postgres::{DbError, Row, Transaction};
use embermesh_types::{NanoUsd, TenantId};
use jiff::civil::Date;

use super::rows::{parsed, unreadable};
use crate::domain::{
    balance::{Balance, BalanceKey},
    books::Delta,
    period::Period,
};

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
    let insert = "INSERT INTO balances (tenant_id, agent_id, period, period_start, spent, reserved)
        SELECT $1, k.agent_id, k.period, k.period_start, 0, 0
        FROM unnest($2::text[], $3::text[], $4::date[]) AS k (agent_id, period, period_start)
        ORDER BY k.agent_id COLLATE \"C\", k.period COLLATE \"C\", k.period_start
        ON CONFLICT DO NOTHING";
    let uuid = tenant.uuid();
    transaction.execute(insert, &[&uuid, &columns.agents, &columns.periods, &columns.starts]).await?;
    select(transaction, tenant, &columns).await
}

async fn select(
    transaction: &Transaction,
    tenant: TenantId,
    columns: &Columns<'_>,
) -> Result<HashMap<BalanceKey, Balance>, DbError> {
    let sql = "SELECT b.agent_id, b.period, b.period_start, b.spent, b.reserved
        FROM unnest($2::text[], $3::text[], $4::date[]) AS k (agent_id, period, period_start)
        JOIN balances b ON b.tenant_id = $1 AND b.agent_id = k.agent_id AND b.period = k.period
             AND b.period_start = k.period_start
        ORDER BY b.agent_id, b.period, b.period_start
        FOR UPDATE OF b";
    let uuid = tenant.uuid();
    let rows = transaction.query(sql, &[&uuid, &columns.agents, &columns.periods, &columns.starts]).await?;
    rows.iter().map(balance).collect()
}

/// Adds up. The limit is checked once more by the statement that writes, so that no defect of this process can pass it.
pub(crate) async fn add(
    transaction: &Transaction,
    tenant: TenantId,
    deltas: &BTreeMap<BalanceKey, Delta>,
) -> Result<(), DbError> {
    if deltas.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(deltas.keys());
    let spent: Vec<i64> = deltas.values().map(|delta| delta.spent).collect();
    let reserved: Vec<i64> = deltas.values().map(|delta| delta.reserved).collect();
    let admitted: Vec<i64> = deltas.values().map(|delta| delta.admitted).collect();
    let limits: Vec<Option<i64>> = deltas.values().map(|delta| delta.limit).collect();
    let sql = "UPDATE balances b SET spent = b.spent + d.spent, reserved = b.reserved + d.reserved
        FROM unnest($2::text[], $3::text[], $4::date[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
             AS d (agent_id, period, period_start, spent, reserved, admitted, lim)
        WHERE b.tenant_id = $1 AND b.agent_id = d.agent_id AND b.period = d.period AND b.period_start = d.period_start
          AND (d.admitted = 0 OR d.lim IS NULL OR b.spent + b.reserved + d.admitted <= d.lim)";
    let uuid = tenant.uuid();
    let written = transaction
        .execute(
            sql,
            &[
                &uuid,
                &columns.agents,
                &columns.periods,
                &columns.starts,
                &spent,
                &reserved,
                &admitted,
                &limits,
            ],
        )
        .await?;
    super::batch::all(written, deltas.len())
}

struct Columns<'a> {
    agents: Vec<&'a str>,
    periods: Vec<&'static str>,
    starts: Vec<Date>,
}

impl<'a> Columns<'a> {
    fn of(keys: impl IntoIterator<Item = &'a BalanceKey>) -> Self {
        let mut columns = Self { agents: Vec::new(), periods: Vec::new(), starts: Vec::new() };
        for key in keys {
            columns.agents.push(key.agent.as_str());
            columns.periods.push(key.period.as_str());
            columns.starts.push(key.start);
        }
        columns
    }
}

fn balance(row: &Row) -> Result<(BalanceKey, Balance), DbError> {
    let name: &str = row.try_get("period")?;
    let period = Period::BOTH
        .into_iter()
        .find(|period| period.as_str() == name)
        .ok_or_else(|| unreadable("period"))?;
    let key = BalanceKey { agent: parsed(row, "agent_id")?, period, start: row.try_get("period_start")? };
    Ok((key, Balance { spent: NanoUsd(row.try_get("spent")?), reserved: NanoUsd(row.try_get("reserved")?) }))
}
