//! Budgets of accounts, made through the API and waited for.

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{
    balances::{Balance, Limit, balance},
    nanos, usd,
};
use crate::running::{Running, wait_until};

const BUDGETS: &str = "/api/v1/admin/budgets";

/// A budget that is in force.
pub struct Budget {
    id: String,
    scope: &'static str,
    subject: String,
    period: &'static str,
    limit: i64,
}

impl Budget {
    /// A budget of a day or a month; in force at the ledger when this returns.
    pub async fn create(
        running: &Running,
        scope: &'static str,
        subject: &str,
        period: &'static str,
        limit: i64,
    ) -> Self {
        let mut body = json!({"scope": scope, "period": period, "limit_usd": usd(limit)});
        if scope != "tenant" {
            body["subject"] = subject.into();
        }
        let made = running.admin().post(BUDGETS, body).await.ok();
        let id = made["id"].as_str().unwrap().to_owned();
        let budget = Self { id, scope, subject: subject.to_owned(), period, limit };
        budget.until(running, Some(limit)).await;
        budget
    }

    /// Another limit.
    pub async fn change(&mut self, running: &Running, limit: i64) {
        let path = format!("{BUDGETS}/{}", self.id);
        running.admin().put(&path, json!({"limit_usd": usd(limit)})).await.ok();
        self.limit = limit;
        self.until(running, Some(limit)).await;
    }

    /// No longer in force anywhere.
    pub async fn remove(self, running: &Running) {
        running.admin().delete(&format!("{BUDGETS}/{}", self.id)).await.ok();
        self.until(running, None).await;
    }

    /// For the sampler.
    pub fn as_limit(&self) -> Limit {
        Limit { scope: self.scope, subject: self.subject.clone(), period: self.period, amount: self.limit }
    }

    pub async fn balance(&self, sql: &Client) -> Balance {
        balance(sql, self.scope, &self.subject, self.period).await
    }

    /// The ledger's word for it, as it stands.
    pub async fn state(&self, running: &Running) -> Option<Value> {
        let states = running.admin().get("/api/v1/reports/budgets").await.ok();
        let states = states["budgets"].as_array().cloned().unwrap_or_default();
        states.into_iter().find(|state| state["budget_id"] == self.id)
    }

    async fn until(&self, running: &Running, limit: Option<i64>) {
        wait_until(|| async {
            let state = self.state(running).await;
            state.map(|state| nanos(&state["budget"]["limit"].to_string())) == limit
        })
        .await;
    }
}
