//! A provider that allows few calls a minute, and many clients that ask for one text each.

use std::{path::Path, time::Duration};

use embermesh_cache::testing::TestRedis;
use embermesh_testing::sim::{Latency, Limits};

use super::{
    RoundError,
    bar::Bar,
    steady::steady,
    system::{System, deployments, yaml},
};

const RPM: u32 = 60;
const TPM: u64 = 100_000;
const AGENTS: usize = 50;

/// With one router.
///
/// # Errors
/// When the system does not start.
pub async fn one_router(bin: &Path) -> Result<Vec<Bar>, RoundError> {
    run(bin, "60 RPM, 500 requests in 10 s", false).await
}

/// With two that share a Redis.
///
/// # Errors
/// When the system does not start.
pub async fn two_routers(bin: &Path) -> Result<Vec<Bar>, RoundError> {
    run(bin, "the same over two routers", true).await
}

async fn run(bin: &Path, round: &str, pair: bool) -> Result<Vec<Bar>, RoundError> {
    let simulator = deployments(&["a-limited"]).await?;
    let deployment = simulator.deployment("a-limited")?;
    deployment.limit(Limits { rpm: Some(RPM), tpm: Some(TPM), ..Limits::default() });
    deployment.set_latency(Some(Latency::LogNormal { p50_ms: 60.0, p99_ms: 250.0 }));
    let entry = format!(", rate_limit: {{requests_per_minute: {RPM}, tokens_per_minute: {TPM}}}");
    let (_redis, system) = if pair {
        let redis = TestRedis::start();
        let more = format!("redis: {{url: '{}'}}\n", redis.url());
        let yaml = yaml([deployment], &entry, ", replicas: 2", &more);
        (Some(redis), System::with_two_routers(bin, &yaml).await?)
    } else {
        (None, System::one(bin, &yaml([deployment], &entry, "", "")).await?)
    };
    let outcome = steady(&system.agents, round, AGENTS, 50, Duration::from_secs(10)).await;
    let calls = simulator.calls();
    let refused = usize::try_from(deployment.refused_by_limits())?;
    let slowest = outcome.latencies.last().map_or(f64::INFINITY, Duration::as_secs_f64);
    Ok(vec![
        Bar::none(round, "failed requests of 500", outcome.failed, outcome.first_failure.as_deref()),
        Bar::at_most(round, "all answered after", outcome.took.as_secs_f64(), 60.0, "s"),
        Bar::at_most(round, "calls", calls.len() as f64, f64::from(RPM), ""),
        Bar::none(round, "calls that the provider refused", refused, None),
        Bar::told(round, "slowest answer", format!("{slowest:.1} s")),
    ])
}
