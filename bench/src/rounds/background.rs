//! A tenth of all calls fail, at a high rate: hardly anybody notices, and no breaker opens.

use std::{path::Path, time::Duration};

use embermesh_testing::sim::{Fault, Latency};

use super::{
    RoundError,
    bar::Bar,
    steady::steady,
    system::{System, deployments, yaml},
};

const ROUND: &str = "10 % errors, 1,000 rps";
const PER_SECOND: u32 = 1000;

/// For that long.
///
/// # Errors
/// When the system does not start.
pub async fn run(bin: &Path, during: Duration) -> Result<Vec<Bar>, RoundError> {
    let simulator = deployments(&["a-one", "b-two"]).await?;
    for deployment in simulator.deployments() {
        deployment.set_latency(Some(Latency::LogNormal { p50_ms: 10.0, p99_ms: 40.0 }));
        deployment.inject([Fault::status(500).at_rate(0.1)]);
    }
    let system = System::one(bin, &yaml(simulator.deployments(), ", timeout: 5s", "", "")).await?;
    let outcome = steady(&system.agents, "background", 50, PER_SECOND, during).await;
    let calls = simulator.calls();
    // an open breaker is a silence of half a minute
    let mut silence = 0;
    for name in ["a-one", "b-two"] {
        let times: Vec<u64> =
            calls.iter().filter(|call| call.deployment == name).map(|call| call.received_ms).collect();
        silence = silence
            .max(times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or(u64::MAX));
    }
    let errors = calls.iter().filter(|call| call.status == Some(500)).count();
    let amplification =
        calls.iter().map(|call| call.texts.len()).sum::<usize>() as f64 / outcome.requests as f64;
    Ok(vec![
        // three attempts in a row fail once in a thousand calls
        Bar::at_most(
            ROUND,
            "failed requests",
            100.0 * outcome.failed as f64 / outcome.requests as f64,
            0.5,
            "%",
        ),
        Bar::at_most(
            ROUND,
            "longest silence of a deployment (a breaker opens for 30 s)",
            silence as f64 / 1000.0,
            5.0,
            "s",
        ),
        Bar::at_most(ROUND, "texts sent per text asked for", amplification, 1.2, ""),
        Bar::told(
            ROUND,
            "requests / calls / errors",
            format!("{} / {} / {errors}", outcome.requests, calls.len()),
        ),
        Bar::told(
            ROUND,
            "answered per second",
            format!("{:.0}", outcome.latencies.len() as f64 / outcome.took.as_secs_f64()),
        ),
        Bar::told(
            ROUND,
            "p50 / p99",
            format!("{:.0} / {:.0} ms", outcome.percentile_ms(50), outcome.percentile_ms(99)),
        ),
    ])
}
