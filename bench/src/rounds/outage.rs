//! One of two deployments hard down under load, and its return.

use std::{path::Path, time::Duration};

use embermesh_testing::sim::{Fault, Latency};

use super::{
    RoundError,
    bar::Bar,
    steady::steady,
    system::{System, deployments, yaml},
};

const ROUND: &str = "one of two down, 200 rps";
const PER_SECOND: u32 = 200;
/// Within this a healed deployment must have its share again.
const HEAL_S: u64 = 45;
/// Seconds that a share is taken over.
const WINDOW_S: u64 = 2;

/// Down for `down`, then healed and watched for a minute.
///
/// # Errors
/// When the system does not start.
pub async fn run(bin: &Path, down: Duration) -> Result<Vec<Bar>, RoundError> {
    let simulator = deployments(&["a-one", "b-two"]).await?;
    for deployment in simulator.deployments() {
        deployment.set_latency(Some(Latency::LogNormal { p50_ms: 15.0, p99_ms: 60.0 }));
    }
    let system = System::one(bin, &yaml(simulator.deployments(), ", timeout: 5s", "", "")).await?;
    let before = steady(&system.agents, "before", 20, PER_SECOND, Duration::from_secs(5)).await;
    let dead = simulator.deployment("a-one")?;
    simulator.clear_calls();
    dead.inject([Fault::status(503).forever()]);
    let outage = steady(&system.agents, "outage", 20, PER_SECOND, down).await;
    let times: Vec<u64> = simulator
        .calls()
        .iter()
        .filter(|call| call.deployment == "a-one")
        .map(|call| call.received_ms)
        .collect();
    let most = most_within(&times, 30_000);

    dead.heal();
    simulator.clear_calls();
    let after = steady(&system.agents, "healed", 20, PER_SECOND, Duration::from_secs(60)).await;
    let calls = simulator.calls();
    let start = calls.first().map_or(0, |call| call.received_ms);
    let arrivals: Vec<(u64, bool)> =
        calls.iter().map(|call| (call.received_ms - start, call.deployment == "a-one")).collect();
    let healed = full_share_at(&arrivals).map_or(f64::INFINITY, |seconds| seconds as f64);

    let failed = before.failed + outage.failed + after.failed;
    let first =
        [before.first_failure.as_deref(), outage.first_failure.as_deref(), after.first_failure.as_deref()];
    Ok(vec![
        Bar::none(ROUND, "failed requests", failed, first.into_iter().flatten().next()),
        Bar::at_most(ROUND, "calls to the dead in any 30 s", most as f64, 6.0, ""),
        Bar::at_most(ROUND, "full share after healing", healed, HEAL_S as f64, "s"),
        Bar::told(
            ROUND,
            "p50 / p99 before",
            format!("{:.0} / {:.0} ms", before.percentile_ms(50), before.percentile_ms(99)),
        ),
        Bar::told(
            ROUND,
            "p50 / p99 during",
            format!("{:.0} / {:.0} ms", outage.percentile_ms(50), outage.percentile_ms(99)),
        ),
    ])
}

/// Most of these ascending times that lie within one window.
fn most_within(times: &[u64], window_ms: u64) -> usize {
    let within =
        |(at, from): (usize, &u64)| times[at..].iter().take_while(|time| **time < from + window_ms).count();
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

/// The second from which on the healed deployment has four fifths of its half, measured over the seconds before.
fn full_share_at(arrivals: &[(u64, bool)]) -> Option<u64> {
    let last = arrivals.last()?.0 / 1000;
    (WINDOW_S..=last).find(|second| {
        let window = (second - WINDOW_S) * 1000..second * 1000;
        let within = arrivals.iter().filter(|(at, _)| window.contains(at));
        let (all, healed) =
            within.fold((0, 0), |(all, healed), (_, its)| (all + 1, healed + usize::from(*its)));
        all > 0 && healed as f64 >= 0.4 * f64::from(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_window_counts_whenever_it_begins() {
        assert_eq!(most_within(&[], 30_000), 0);
        assert_eq!(most_within(&[0, 29_999, 30_000, 31_000], 30_000), 3);
    }

    #[test]
    fn a_share_is_full_once_it_was_so_for_some_seconds() {
        let arrivals: Vec<(u64, bool)> = (0..2000).map(|n| (n * 10, n >= 1000 && n % 2 == 0)).collect();
        assert_eq!(full_share_at(&arrivals), Some(12));
        assert_eq!(full_share_at(&arrivals[..1000]), None);
    }
}
