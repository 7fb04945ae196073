//! Agents with a budget for the day that the load is meant to use up: some soon, some late, some hardly. And budgets of other scopes that
//! nobody uses up, so that calls are decided in several accounts at once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use embermesh_types::NanoUsd;
use reqwest::Method;

use super::{FaultError, request::Client};

/// Budgets: from one that holds a few dozen calls and is reserved call by call, to one that routers take leases of until it is nearly spent.
pub const LIMITS: [NanoUsd; 4] = [NanoUsd(60_000), NanoUsd(400_000), NanoUsd(1_500_000), NanoUsd(20_000_000)];
/// Scope, subject and period of budgets that hold far more than a run spends.
const WIDE: [(&str, &str, &str); 3] =
    [("provider", "a-one", "day"), ("provider", "a-one", "month"), ("agent", "free-0", "month")];
const WIDE_LIMIT_USD: u32 = 1_000;
/// How long a configuration may take to every ledger.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the budgets that nobody uses up.
///
/// # Errors
/// When admin refuses them.
pub async fn make_wide(admin: &Client) -> Result<(), FaultError> {
    for (scope, subject, period) in WIDE {
        let body = format!(
            r#"{{"scope": "{scope}", "subject": "{subject}", "period": "{period}", "limit_usd": {WIDE_LIMIT_USD}}}"#
        );
        let (status, answer) = admin.send(Method::POST, 0, "/api/v1/admin/budgets", Some(body)).await?;
        if !(200..300).contains(&status) {
            return Err(format!("no budget of {scope} {subject} can be made: {status} {answer}").into());
        }
    }
    Ok(())
}

/// Makes one agent for each of [`LIMITS`], named after `name`, and waits until every ledger knows them; their limits by name.
///
/// # Errors
/// When admin refuses them, or a ledger does not hear of them.
pub async fn make(admin: &Client, name: &str) -> Result<BTreeMap<String, NanoUsd>, FaultError> {
    let mut agents = BTreeMap::new();
    for limit in LIMITS {
        let agent = format!("limited-{name}-{}", limit.0);
        let (path, body) = (
            format!("/api/v1/embeddings/agents/{agent}"),
            // a JSON number, written exactly
            format!(r#"{{"constraints": {{"max_cost_per_day": {limit}}}}}"#),
        );
        let (status, answer) = admin.send(Method::PUT, 0, &path, Some(body)).await?;
        if status != 200 {
            return Err(format!("agent {agent} cannot be configured: {status} {answer}").into());
        }
        agents.insert(agent, limit);
    }
    let until = Instant::now() + PATIENCE;
    for gateway in 0..admin.gateways() {
        for agent in agents.keys() {
            let path = format!("/api/v1/embeddings/agents/{agent}/costs");
            while !admin.send(Method::GET, gateway, &path, None).await?.1["budget"]["limit"].is_number() {
                if Instant::now() > until {
                    return Err(
                        format!("gateway {gateway} knows no limit of {agent} after {PATIENCE:?}").into()
                    );
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    Ok(agents)
}
