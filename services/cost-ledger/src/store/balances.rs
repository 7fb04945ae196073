//! Balances: locked in one order by everybody, then written once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use embermesh_postgres::{DbError, Row, Transaction};
use embermesh_types::{NanoUsd, TenantId};
use futures::future::try_join_all;
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
    // in the order of the keys, which is everybody's
    let sql = "SELECT b.* FROM unnest($2::text[], $3::text[], $4::date[]) AS k (agent_id, period, period_start),
        LATERAL (SELECT agent_id, period, period_start, spent, reserved FROM balances
                 WHERE tenant_id = $1 AND agent_id = k.agent_id AND period = k.period AND period_start = k.period_start
                 FOR UPDATE) AS b";
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
    let sql = "UPDATE balances SET spent = spent + $5, reserved = reserved + $6
        WHERE tenant_id = $1 AND agent_id = $2 AND period = $3 AND period_start = $4
          AND ($7::bigint = 0 OR $8::bigint IS NULL OR spent + reserved + $7 <= $8)";
    let tenant = tenant.uuid();
    let add = async |key: &BalanceKey, delta: &Delta| {
        let (agent, period) = (key.agent.as_str(), key.period.as_str());
        let written = transaction
            .execute(
                sql,
                &[
                    &tenant,
                    &agent,
                    &period,
                    &key.start,
                    &delta.spent,
                    &delta.reserved,
                    &delta.admitted,
                    &delta.limit,
                ],
            )
            .await?;
        super::batch::all(written, 1)
    };
    try_join_all(deltas.iter().map(|(key, delta)| add(key, delta))).await.map(drop)
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
