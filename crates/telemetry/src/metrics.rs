//! The registry that every part registers its handles in.

mod exemplars;
mod openmetrics;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

pub use exemplars::Exemplars;
use prometheus::{Encoder, Registry, TextEncoder};

/// Seconds, from a cache hit to a slow provider.
pub const LATENCY_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The metrics of one process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Registry,
    /// By the names of histograms.
    exemplars: Arc<RwLock<BTreeMap<&'static str, Exemplars>>>,
}

impl Metrics {
    /// Registers a collector and hands it back. In one process each name is registered once; a second registration is a defect
    /// of the composition, logged, and leaves the handle unexported.
    pub fn register<C: prometheus::core::Collector + Clone + 'static>(&self, collector: C) -> C {
        if let Err(error) = self.registry.register(Box::new(collector.clone())) {
            tracing::error!(%error, "metric is not exported");
        }
        collector
    }

    /// A place for the exemplars of the histogram of this name, which has these buckets.
    pub fn exemplars(&self, histogram: &'static str, buckets: &'static [f64]) -> Exemplars {
        let mut all = self.exemplars.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(histogram).or_insert_with(|| Exemplars::new(buckets)).clone()
    }

    /// Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be rendered");
        }
        String::from_utf8(text).unwrap_or_default()
    }

    /// The format that the header `accept` prefers, and its media type: OpenMetrics for whoever asks for it, else Prometheus' own.
    pub fn exposition(&self, accept: Option<&str>) -> (&'static str, String) {
        if !accept.is_some_and(prefers_openmetrics) {
            return ("text/plain; version=0.0.4", self.render());
        }
        let all = self.exemplars.read().unwrap_or_else(PoisonError::into_inner);
        let text = openmetrics::encode(&self.registry.gather(), |name| all.get(name).cloned());
        (openmetrics::CONTENT_TYPE, text)
    }
}

/// Whether OpenMetrics is wanted, and no less than Prometheus' format.
fn prefers_openmetrics(accept: &str) -> bool {
    let quality = |wanted: &str| {
        let of_type = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts.next()?.eq_ignore_ascii_case(wanted);
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok());
            is_it.then(|| quality.unwrap_or(1.0))
        });
        of_type.fold(0.0, f64::max)
    };
    let wanted = quality("application/openmetrics-text");
    wanted > 0.0 && wanted >= quality("text/plain")
}

#[cfg(test)]
mod tests;
