//! `pii_detections_total`.

use std::collections::BTreeSet;

use embermesh_pii::{Action, Entity, Policy};
use embermesh_telemetry::Metrics;
use prometheus::{IntCounterVec, Opts};

/// The label of entities that tenants have patterns of their own for: their names are the tenants', and as many as they like.
const CUSTOM: &str = "custom";

/// Counts what was found.
#[derive(Debug)]
pub(super) struct Detections {
    found: IntCounterVec,
    /// Those that the operator has named.
    named: BTreeSet<Entity>,
}

impl Detections {
    /// Registers the counter and shows what the installation's policy looks for.
    pub fn new(policy: &Policy, metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "pii_detections_total",
            "Personal data found, by entity and by what was done about it.",
        );
        let found = metrics.register(IntCounterVec::new(opts, &["entity", "action"])?);
        let named: BTreeSet<Entity> = Entity::BUILT_IN.into_iter().chain(policy.entities.clone()).collect();
        for entity in &policy.entities {
            found.with_label_values(&[entity.as_str(), policy.action_for(entity).as_str()]);
        }
        Ok(Self { found, named })
    }

    pub fn count(&self, entity: &Entity, action: Action) {
        let name = if self.named.contains(entity) { entity.as_str() } else { CUSTOM };
        self.found.with_label_values(&[name, action.as_str()]).inc();
    }

    #[cfg(test)]
    pub fn of(&self, entity: &str, action: &str) -> u64 {
        self.found.with_label_values(&[entity, action]).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tenants_give_are_no_labels_and_what_is_looked_for_is_shown_before_it_is_found() {
        let metrics = Metrics::default();
        let mut policy = Policy::built_in(Action::Redact);
        policy.entities.insert(Entity::named("badge").unwrap());
        let detections = Detections::new(&policy, &metrics).unwrap();
        let shown = |line: &str| metrics.render().lines().any(|one| one == line);
        assert!(shown("pii_detections_total{action=\"redact\",entity=\"email\"} 0"));
        assert!(shown("pii_detections_total{action=\"redact\",entity=\"badge\"} 0"));
        for n in 0..1_000 {
            detections.count(&Entity::named(&format!("tenants_{n}")).unwrap(), Action::Detect);
        }
        detections.count(&Entity::named("badge").unwrap(), Action::Redact);
        assert!(shown("pii_detections_total{action=\"detect\",entity=\"custom\"} 1000"));
        assert!(shown("pii_detections_total{action=\"redact\",entity=\"badge\"} 1"));
        assert!(!metrics.render().contains("tenants_"));
    }
}
