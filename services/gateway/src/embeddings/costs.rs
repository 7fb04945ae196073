//! `embedding_cost_total`: what the router says that embedding has cost. For dashboards and alerts; the ledger has the truth.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use embermesh_proto::internal::v1::RouteReply;
use embermesh_telemetry::Metrics;
use embermesh_types::AgentId;
use prometheus::{
    IntCounterVec, Opts,
    core::{Collector, Desc},
    proto::{Counter, MetricFamily},
};

/// Agents with a label of their own; anybody can make up more.
const MAX_AGENTS: usize = 1000;
/// The label of all the others, which no agent may have as its id.
const OTHER: &str = "other";

/// Counts USD by agent, provider and model.
#[derive(Debug, Clone)]
pub(crate) struct Costs {
    total: NanoCounter,
    agents: Arc<RwLock<HashSet<AgentId>>>,
}

impl Costs {
    /// Registers the counter.
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let opts =
            Opts::new("embedding_cost_total", "USD charged for embedding, by agent, provider and model.");
        let nanos = IntCounterVec::new(opts, &["agent_id", "provider", "model"])?;
        Ok(Self { total: metrics.register(NanoCounter(nanos)), agents: Arc::default() })
    }

    /// Counts the answer to one call. What cost nothing is shown too, as zero.
    pub fn record(&self, agent: &AgentId, reply: &RouteReply) {
        let mut by_provider: BTreeMap<&str, u64> = BTreeMap::new();
        // an item that failed before any provider was asked names none
        for item in reply.items.iter().filter(|item| !item.provider.is_empty()) {
            *by_provider.entry(&item.provider).or_default() += u64::try_from(item.cost_nano_usd).unwrap_or(0);
        }
        if by_provider.is_empty() {
            return;
        }
        let agent = if self.has_label(agent) { agent.as_str() } else { OTHER };
        for (provider, nanos) in by_provider {
            self.total.0.with_label_values(&[agent, provider, &reply.model]).inc_by(nanos);
        }
    }

    fn has_label(&self, agent: &AgentId) -> bool {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        if agents.contains(agent) {
            return true;
        }
        if agents.len() >= MAX_AGENTS {
            return false;
        }
        drop(agents);
        let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
        agents.contains(agent) || agents.len() < MAX_AGENTS && agents.insert(agent.clone())
    }
}

/// Counts nano-USD and shows USD, so that the sum is exact however many small amounts it is made of.
#[derive(Debug, Clone)]
struct NanoCounter(IntCounterVec);

impl Collector for NanoCounter {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.0.collect();
        for metric in families.iter_mut().flat_map(|family| family.mut_metric()) {
            let mut usd = Counter::default();
            usd.set_value(metric.get_counter().get_value() / 1e9);
            metric.set_counter(usd);
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use embermesh_proto::internal::v1::RouteItem;

    use super::*;

    fn reply(items: &[(&str, i64)]) -> RouteReply {
        let item = |(provider, cost_nano_usd): &(&str, i64)| RouteItem {
            provider: (*provider).into(),
            cost_nano_usd: *cost_nano_usd,
            ..Default::default()
        };
        RouteReply { model: "m".into(), items: items.iter().map(item).collect(), ..Default::default() }
    }

    fn line(agent: &str, provider: &str, usd: &str) -> String {
        format!("embedding_cost_total{{agent_id=\"{agent}\",model=\"m\",provider=\"{provider}\"}} {usd}\n")
    }

    #[test]
    fn small_amounts_add_up_exactly_by_agent_and_provider() {
        let metrics = Metrics::default();
        let costs = Costs::new(&metrics).unwrap();
        for _ in 0..1000 {
            costs.record(&"a".parse().unwrap(), &reply(&[("x", 100), ("y", 1), ("x", 0), ("", 0)]));
        }
        costs.record(&"b".parse().unwrap(), &reply(&[("local", 0)]));
        costs.record(&"c".parse().unwrap(), &reply(&[("", 0)]));
        let text = metrics.render();
        for line in [line("a", "x", "0.0001"), line("a", "y", "0.000001"), line("b", "local", "0")] {
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(!text.contains(r#"agent_id="c""#), "{text}");
    }

    #[test]
    fn agents_beyond_the_cap_are_other() {
        let metrics = Metrics::default();
        let costs = Costs::new(&metrics).unwrap();
        for n in 0..MAX_AGENTS + 5 {
            costs.record(&format!("a{n}").parse().unwrap(), &reply(&[("x", 1_000_000_000)]));
        }
        costs.record(&"a7".parse().unwrap(), &reply(&[("x", 1_000_000_000)]));
        let text = metrics.render();
        assert_eq!(
            text.lines().filter(|line| line.starts_with("embedding_cost_total{")).count(),
            MAX_AGENTS + 1
        );
        assert!(text.contains(&line("a7", "x", "2")) && text.contains(&line(OTHER, "x", "5")), "{text}");
    }
}
