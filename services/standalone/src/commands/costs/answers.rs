//! What is read of the server's answers.

use embermesh_types::NanoUsd;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::value::RawValue;

use crate::commands::quotas::QuotaState;

/// Money, read by its digits: a float could not hold them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usd(pub NanoUsd);

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from)?.get().parse().map(Self).map_err(D::Error::custom)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct CostReport {
    pub from: String,
    pub to: String,
    pub group_by: String,
    pub total_cost_usd: Usd,
    pub saved_usd: Usd,
    pub rows: Vec<CostReportRow>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CostReportRow {
    pub key: String,
    pub cost_usd: Usd,
    pub request_count: u64,
    pub tokens_used: u64,
    pub cached_count: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct CostsByAgent {
    pub agents: Vec<AgentCost>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AgentCost {
    pub agent_id: String,
    pub total_cost: Usd,
    pub request_count: u64,
    pub budget: Option<Budget>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Budget {
    pub limit: Option<Usd>,
    pub spent: Usd,
    pub reserved: Usd,
    pub presumed: Usd,
    pub resets_at: Option<String>,
    pub forecast_reached_at: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BudgetStates {
    pub budgets: Vec<BudgetState>,
    #[serde(default)]
    pub quotas: Vec<QuotaState>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BudgetState {
    pub scope: String,
    pub subject: String,
    pub period: String,
    pub budget: Budget,
    pub utilization: Option<f64>,
    #[serde(default)]
    pub alerts: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Alert {
    pub percent: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct BooksVerified {
    pub attempts: u64,
    pub charges: u64,
    pub balances: u64,
    pub leases: u64,
    pub differences: Vec<Difference>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Difference {
    pub what: String,
    pub subject: String,
    pub recorded: String,
    pub recomputed: String,
}
