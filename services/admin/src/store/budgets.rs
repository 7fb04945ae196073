//! Budgets: what may be spent, beside the limits in the agents' configurations.

use embermesh_postgres::{DbError, Row};
use embermesh_proto::{internal::v1::Section, v1::BudgetRule};
use embermesh_types::{AgentId, KeyId, NanoUsd, TenantId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Store,
    change::{Author, Change, Changed},
    timestamp,
};
use crate::domain::{budget::NewBudget, page::Page};

/// Names the list in page tokens.
pub(crate) const LIST: &str = "budgets";

/// What [`budget_of`] reads.
pub(crate) const COLUMNS: &str =
    "id, scope, subject, period, limit_nano_usd, alert_percents, version, created_at, updated_at";

/// What making a budget came to.
pub(crate) enum Made {
    /// It is there now.
    Budget(Changed<BudgetRule>),
    /// There is one of the same scope, subject and period, under this id.
    Duplicate(String),
    /// It would be of a key that the tenant does not have.
    NoSuchKey,
}

/// A change of one budget, with what is there now.
pub(crate) struct BudgetChange {
    change: Change,
    tenant: TenantId,
    id: Uuid,
    pub(crate) current: BudgetRule,
}

impl Store {
    pub(crate) async fn create_budget(&self, author: Author<'_>, new: &NewBudget) -> Result<Made, DbError> {
        let (tenant, now) = (author.tenant, author.at);
        let change = Change::begin(self.tenant(tenant)).await?;
        if new.is_of_key() {
            let key = "SELECT FROM api_keys WHERE id = $1";
            if change.query_opt(key, &[&new.subject]).await?.is_none() {
                return Ok(Made::NoSuchKey);
            }
        }
        let present = "SELECT id FROM budgets WHERE scope = $1 AND subject = $2 AND period = $3";
        let present = change.query_opt(present, &[&new.scope, &new.subject, &new.period]).await?;
        if let Some(row) = present {
            return Ok(Made::Duplicate(row.try_get::<_, Uuid>("id")?.to_string()));
        }
        let sql = format!(
            "INSERT INTO budgets (tenant_id, id, scope, subject, period, limit_nano_usd, alert_percents, version, created_at,
                 updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8) RETURNING {COLUMNS}"
        );
        let (id, alerts) = (Uuid::now_v7(), signed(&new.alert_percents));
        let row = change
            .query_one(
                &sql,
                &[
                    &tenant.uuid(),
                    &id,
                    &new.scope,
                    &new.subject,
                    &new.period,
                    &new.limit_nano_usd,
                    &alerts,
                    &now,
                ],
            )
            .await?;
        let made = budget_of(&row)?;
        touch(&change, tenant, id).await?;
        change.record(&author.did("budget.create", &made.id, terms(&made))).await?;
        Ok(Made::Budget(Changed { made, version: change.commit().await? }))
    }

    pub(crate) async fn budget(&self, tenant: TenantId, id: Uuid) -> Result<Option<BudgetRule>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM budgets WHERE id = $1");
        self.tenant(tenant).query_opt(&sql, &[&id]).await?.map(|row| budget_of(&row)).transpose()
    }

    /// A page in the order of scope, subject and period, and the token of the next one; with `only`, of what concerns that agent
    /// and that key.
    pub(crate) async fn budgets(
        &self,
        tenant: TenantId,
        only: Option<(&AgentId, &KeyId)>,
        page: &Page<3>,
    ) -> Result<(Vec<BudgetRule>, Option<String>), DbError> {
        let [scope, subject, period] =
            page.after.as_ref().map_or([""; 3], |after| after.each_ref().map(String::as_str));
        let (agent, key) = only.map(|(agent, key)| (agent.as_str(), key.as_str())).unzip();
        let sql = format!(
            "SELECT {COLUMNS} FROM budgets
             WHERE (scope, subject, period) > ($1, $2, $3)
                 AND ($4::text IS NULL OR (scope, subject) IN (('agent', $4), ('key', $5::text)))
             ORDER BY scope, subject, period LIMIT $6"
        );
        let rows = self
            .tenant(tenant)
            .query(&sql, &[&scope, &subject, &period, &agent, &key, &page.limit()])
            .await?;
        let mut budgets = rows.iter().map(budget_of).collect::<Result<Vec<_>, _>>()?;
        let next = page.cut(LIST, &mut budgets, |budget| {
            [budget.scope.clone(), budget.subject.clone(), budget.period.clone()]
        });
        Ok((budgets, next))
    }

    /// `None` when the tenant has no such budget.
    pub(crate) async fn change_budget(
        &self,
        tenant: TenantId,
        id: Uuid,
    ) -> Result<Option<BudgetChange>, DbError> {
        let change = Change::begin(self.tenant(tenant)).await?;
        let sql = format!("SELECT {COLUMNS} FROM budgets WHERE id = $1");
        let Some(row) = change.query_opt(&sql, &[&id]).await? else { return Ok(None) };
        let current = budget_of(&row)?;
        Ok(Some(BudgetChange { change, tenant, id, current }))
    }
}

impl BudgetChange {
    /// Puts the limit and the alerts of `next` in force, and returns it with its version.
    pub(crate) async fn put(
        self,
        next: &BudgetRule,
        author: Author<'_>,
    ) -> Result<Changed<BudgetRule>, DbError> {
        let sql = format!(
            "UPDATE budgets SET limit_nano_usd = $2, alert_percents = $3, version = version + 1, updated_at = $4
             WHERE id = $1 RETURNING {COLUMNS}"
        );
        let alerts = signed(&next.alert_percents);
        let row = self.change.query_one(&sql, &[&self.id, &next.limit_nano_usd, &alerts, &author.at]).await?;
        let made = budget_of(&row)?;
        touch(&self.change, self.tenant, self.id).await?;
        let details = json!({"now": terms(&made), "before": terms(&self.current)});
        self.change.record(&author.did("budget.update", &made.id, details)).await?;
        Ok(Changed { made, version: self.change.commit().await? })
    }

    /// Takes the budget out of force. What was spent under it stays in the books.
    pub(crate) async fn delete(self, author: Author<'_>) -> Result<Changed<BudgetRule>, DbError> {
        self.change.execute("DELETE FROM budgets WHERE id = $1", &[&self.id]).await?;
        touch(&self.change, self.tenant, self.id).await?;
        self.change.record(&author.did("budget.delete", &self.current.id, terms(&self.current))).await?;
        Ok(Changed { made: self.current, version: self.change.commit().await? })
    }
}

async fn touch(change: &Change, tenant: TenantId, id: Uuid) -> Result<(), DbError> {
    let key = [tenant.to_string(), id.to_string()];
    change.touch(Section::Budgets, Some(tenant), &[&key[0], &key[1]]).await
}

/// What a record says of a budget.
fn terms(budget: &BudgetRule) -> Value {
    let BudgetRule { scope, subject, period, limit_nano_usd, alert_percents, version, .. } = budget;
    // a JSON number would pass through a float
    let limit_usd = NanoUsd(*limit_nano_usd).to_string();
    json!({
        "scope": scope, "subject": subject, "period": period, "limit_usd": limit_usd,
        "alert_percents": alert_percents, "version": version,
    })
}

/// Reads a row with [`COLUMNS`].
pub(crate) fn budget_of(row: &Row) -> Result<BudgetRule, DbError> {
    let alerts: Vec<i32> = row.try_get("alert_percents")?;
    Ok(BudgetRule {
        id: row.try_get::<_, Uuid>("id")?.to_string(),
        scope: row.try_get("scope")?,
        subject: row.try_get("subject")?,
        period: row.try_get("period")?,
        limit_nano_usd: row.try_get("limit_nano_usd")?,
        alert_percents: alerts.into_iter().filter_map(|percent| u32::try_from(percent).ok()).collect(),
        version: row.try_get("version")?,
        created_at: timestamp(row.try_get("created_at")?),
        updated_at: timestamp(row.try_get("updated_at")?),
    })
}

fn signed(percents: &[u32]) -> Vec<i32> {
    percents.iter().filter_map(|percent| i32::try_from(*percent).ok()).collect()
}
