//! How good a deployment is for a strategy, from what is measured and what is known of it.
//!
//! Every part is absolute: it is worked out from the deployment alone, so what else there is to choose from changes no score.

use std::time::Duration;

use embermesh_types::NanoUsd;

use super::strategy::Strategy;

/// A latency that nobody would notice, and one that nobody would wait for; between them a tenfold latency costs the same anywhere.
const FASTEST: f64 = 0.01;
const SLOWEST: f64 = 10.0;
/// Of what is not known: neither for nor against.
const NEUTRAL: f64 = 0.5;
/// Good calls that everyone is credited with, so that one early failure is not the whole record.
const CREDIT: f64 = 10.0;
/// Nano-USD per million tokens: below the first (0.01 USD) prices hardly differ, and at the second (1 USD) nothing is left to lose.
const CHEAP: f64 = 1e7;
const DEAR: f64 = 1e9;

/// What speaks for a deployment, each from 0 (worst) to 1 (best).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Parts {
    pub latency: f64,
    pub success: f64,
    pub price: f64,
    pub quality: f64,
    pub load: f64,
}

/// How much each part counts; they add up to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weights {
    pub latency: f64,
    pub success: f64,
    pub price: f64,
    pub quality: f64,
    pub load: f64,
}

impl Parts {
    /// From the 95th percentile of the latencies and the rate of successes among `calls`, the price of a million tokens, the
    /// catalog's quality (0 to 100), and the calls that are in flight of those that may be.
    pub fn of(
        p95: Option<Duration>,
        calls: u64,
        success_rate: Option<f64>,
        price: Option<NanoUsd>,
        quality: Option<f64>,
        in_flight: u32,
        limit: u32,
    ) -> Self {
        Self {
            latency: p95.map_or(NEUTRAL, latency),
            success: success(calls, success_rate),
            price: price.map_or(0.0, self::price),
            quality: quality.map_or(NEUTRAL, |quality| unit(quality / 100.0)),
            load: 1.0 - unit(f64::from(in_flight) / f64::from(limit.max(1))),
        }
    }
}

impl Weights {
    /// Those of a strategy. What it is named after outweighs everything else together; how often calls succeed always counts, as a
    /// deployment that fails is neither fast nor cheap.
    pub const fn of(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Balanced => Self { latency: 0.25, success: 0.25, price: 0.2, quality: 0.2, load: 0.1 },
            Strategy::Quality => Self { latency: 0.03, success: 0.1, price: 0.02, quality: 0.8, load: 0.05 },
            Strategy::Speed => Self { latency: 0.65, success: 0.15, price: 0.05, quality: 0.05, load: 0.1 },
            Strategy::Cost => Self { latency: 0.04, success: 0.15, price: 0.7, quality: 0.06, load: 0.05 },
        }
    }
}

/// The weighted sum, from 0 to 1.
pub(crate) fn score(parts: &Parts, weights: &Weights) -> f64 {
    parts.latency * weights.latency
        + parts.success * weights.success
        + parts.price * weights.price
        + parts.quality * weights.quality
        + parts.load * weights.load
}

fn latency(p95: Duration) -> f64 {
    unit(1.0 - (p95.as_secs_f64().max(FASTEST) / FASTEST).ln() / (SLOWEST / FASTEST).ln())
}

fn success(calls: u64, rate: Option<f64>) -> f64 {
    let calls = calls as f64;
    (rate.map_or(0.0, unit) * calls + CREDIT) / (rate.map_or(0.0, |_| calls) + CREDIT)
}

fn price(price: NanoUsd) -> f64 {
    let nanos = price.0.max(0) as f64;
    unit(1.0 - (nanos / CHEAP).ln_1p() / (DEAR / CHEAP).ln_1p())
}

fn unit(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests;
