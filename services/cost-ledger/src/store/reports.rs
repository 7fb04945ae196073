//! What was spent, added up by PostgreSQL.

use std::collections::BTreeMap;

use embermesh_postgres::{DbError, Row};
use embermesh_types::{AgentId, NanoUsd, TenantId};

use super::Store;
use crate::domain::report::{GroupBy, Span};

/// A line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportRow {
    pub(crate) key: String,
    pub(crate) cost: NanoUsd,
    pub(crate) saved: NanoUsd,
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) cached: u64,
}

/// What an agent spent, three ways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AgentTotals {
    pub(crate) total: NanoUsd,
    pub(crate) by_provider: BTreeMap<String, i64>,
    pub(crate) by_model: BTreeMap<String, i64>,
    pub(crate) by_day: BTreeMap<String, i64>,
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
}

/// `tokens` are those that a provider counted; hits have cost none.
const SUMS: &str = "coalesce(sum(amount_nano_usd), 0)::bigint AS cost, coalesce(sum(saved_nano_usd), 0)::bigint AS saved,
    count(DISTINCT request_id) AS requests, coalesce(sum(tokens) FILTER (WHERE NOT cached), 0)::bigint AS tokens,
    coalesce(sum(inputs) FILTER (WHERE cached), 0)::bigint AS hits";

impl Store {
    /// Rows of `span`, dearest first, or in the order of time. With `agent`, of that agent alone.
    pub(crate) async fn report(
        &self,
        tenant: TenantId,
        span: Span,
        group_by: GroupBy,
        agent: Option<&AgentId>,
    ) -> Result<Vec<ReportRow>, DbError> {
        let group = match group_by {
            GroupBy::Agent => "agent_id",
            GroupBy::Model => "model",
            GroupBy::Provider => "provider",
            GroupBy::Key => "key_id",
            GroupBy::Day => "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
            GroupBy::Hour => "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:00:00\"Z\"')",
        };
        let order = if group_by.is_time() { "1" } else { "cost DESC, 1" };
        let sql = format!(
            "SELECT {group} AS key, {SUMS} FROM charges
             WHERE created_at >= $1 AND created_at < $2 AND ($3::text IS NULL OR agent_id = $3)
             GROUP BY 1 ORDER BY {order}"
        );
        let agent = agent.map(AgentId::as_str);
        let rows = self.database.tenant(tenant.uuid()).query(&sql, &[&span.from, &span.to, &agent]).await?;
        rows.iter().map(report_row).collect()
    }

    /// What an agent spent in `span`.
    pub(crate) async fn agent_totals(
        &self,
        tenant: TenantId,
        agent: &AgentId,
        span: Span,
    ) -> Result<AgentTotals, DbError> {
        let sql = format!(
            "SELECT provider, model, day::text AS day, {SUMS} FROM charges
             WHERE agent_id = $1 AND created_at >= $2 AND created_at < $3
             GROUP BY GROUPING SETS ((), (provider), (model), (day))"
        );
        let session = self.database.tenant(tenant.uuid());
        let mut totals = AgentTotals::default();
        for row in session.query(&sql, &[&agent.as_str(), &span.from, &span.to]).await? {
            let cost: i64 = row.try_get("cost")?;
            let name = |column: &str| row.try_get::<_, Option<String>>(column);
            if let Some(provider) = name("provider")? {
                totals.by_provider.insert(provider, cost);
            } else if let Some(model) = name("model")? {
                totals.by_model.insert(model, cost);
            } else if let Some(day) = name("day")? {
                totals.by_day.insert(day, cost);
            } else {
                totals.total = NanoUsd(cost);
                totals.requests = count(&row, "requests")?;
                totals.tokens = count(&row, "tokens")?;
            }
        }
        Ok(totals)
    }
}

fn report_row(row: &Row) -> Result<ReportRow, DbError> {
    Ok(ReportRow {
        key: row.try_get("key")?,
        cost: NanoUsd(row.try_get("cost")?),
        saved: NanoUsd(row.try_get("saved")?),
        requests: count(row, "requests")?,
        tokens: count(row, "tokens")?,
        cached: count(row, "hits")?,
    })
}

fn count(row: &Row, column: &str) -> Result<u64, DbError> {
    Ok(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or_default())
}
