//! Where a tenant's quotas stand, as the server tells it.

use serde::Deserialize;

use super::table::table;

/// One limit and its use.
#[derive(Debug, Deserialize)]
pub(super) struct QuotaState {
    quota: String,
    period: String,
    limit: u64,
    used: u64,
    reserved: u64,
    presumed: u64,
    utilization: Option<f64>,
    resets_at: String,
}

/// A row each; nothing without any.
pub(super) fn quotas(states: &[QuotaState]) -> String {
    if states.is_empty() {
        return String::new();
    }
    let rows = states.iter().map(|state| {
        let share =
            state.utilization.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
        let counts = [state.limit, state.used, state.reserved, state.presumed].map(|count| count.to_string());
        [state.quota.clone(), state.period.clone(), share]
            .into_iter()
            .chain(counts)
            .chain([state.resets_at.clone()])
            .collect()
    });
    let header = ["quota", "period", "share", "limit", "used", "reserved", "presumed", "resets at"];
    table(2, &header, &rows.collect::<Vec<_>>())
}
