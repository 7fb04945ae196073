//! How much of each limit is used, as a metric whose labels are bounded.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use embermesh_escrow::{Account, Period, Scope};
use embermesh_telemetry::Metrics;
use embermesh_types::TenantId;
use prometheus::{GaugeVec, Opts};

/// Subjects of one scope that have a line of their own; the others share `other`.
const SUBJECTS: usize = 1000;

/// Scope, subject and period.
type Labels = (Scope, String, Period);

/// The gauges, and which of them are shown.
#[derive(Debug)]
pub(super) struct Gauges {
    ratio: GaugeVec,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    labels: BTreeSet<Labels>,
    /// Who has a line keeps it.
    subjects: BTreeMap<Scope, BTreeSet<String>>,
}

impl Gauges {
    pub(super) fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let ratio = Opts::new(
            "embedding_budget_utilization_ratio",
            "Share of a budget that is spent or set aside. Of accounts with the same labels the fullest.",
        );
        let ratio = metrics.register(GaugeVec::new(ratio, &["scope", "subject", "period"])?);
        Ok(Self { ratio, shown: Mutex::default() })
    }

    /// Shows these and no others.
    pub(super) fn show<'a>(&self, used: impl Iterator<Item = (TenantId, &'a Account, Period, f64)>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fullest: BTreeMap<Labels, f64> = BTreeMap::new();
        for (tenant, account, period, ratio) in used {
            let subject = shown.label(tenant, account);
            let known = fullest.entry((account.scope, subject, period)).or_default();
            *known = known.max(ratio);
        }
        for (labels, ratio) in &fullest {
            self.ratio.with_label_values(&names(labels)).set(*ratio);
        }
        let labels: BTreeSet<Labels> = fullest.into_keys().collect();
        for gone in shown.labels.difference(&labels) {
            // one that was never shown cannot be removed, and need not be
            let _absent = self.ratio.remove_label_values(&names(gone));
        }
        shown.labels = labels;
    }
}

impl Shown {
    /// The name of an account's line. A tenant's, also of its quotas, is its id; tenants may have agents of the same name, and share
    /// providers.
    fn label(&mut self, tenant: TenantId, account: &Account) -> String {
        let subject = match account.scope {
            Scope::Tenant | Scope::Quota(_) => tenant.to_string(),
            Scope::Agent | Scope::Key | Scope::Provider => account.subject.clone(),
        };
        let known = self.subjects.entry(account.scope).or_default();
        if known.contains(&subject) {
            return subject;
        }
        if known.len() >= SUBJECTS {
            return "other".to_owned();
        }
        known.insert(subject.clone());
        subject
    }
}

fn names((scope, subject, period): &Labels) -> [&str; 3] {
    [scope.as_str(), subject, period.as_str()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str) -> Account {
        Account { scope: Scope::Agent, subject: name.to_owned() }
    }

    fn lines(metrics: &Metrics) -> Vec<String> {
        let text = metrics.render();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_bounded_and_what_is_limited_no_more_has_none() {
        let (metrics, tenant) = (Metrics::default(), TenantId::SYSTEM);
        let gauges = Gauges::new(&metrics).unwrap();
        let many: Vec<Account> = (0..SUBJECTS + 2).map(|n| agent(&format!("agent-{n}"))).collect();
        gauges.show(many.iter().zip(0_i32..).map(|(one, n)| (tenant, one, Period::Day, f64::from(n))));
        let shown = lines(&metrics);
        assert_eq!(shown.len(), SUBJECTS + 1);
        let other =
            "embedding_budget_utilization_ratio{period=\"day\",scope=\"agent\",subject=\"other\"} 1001";
        assert!(shown.iter().any(|line| line == other), "{shown:?}");
        gauges.show([(tenant, &many[3], Period::Day, 0.5)].into_iter());
        assert_eq!(
            lines(&metrics),
            ["embedding_budget_utilization_ratio{period=\"day\",scope=\"agent\",subject=\"agent-3\"} 0.5"]
        );
    }

    #[test]
    fn of_two_tenants_agents_of_one_name_the_fuller_is_shown_and_tenants_are_told_apart() {
        let metrics = Metrics::default();
        let gauges = Gauges::new(&metrics).unwrap();
        let of_tenant = |scope| Account { scope, subject: String::new() };
        let (docs, whole) = (agent("docs"), of_tenant(Scope::Tenant));
        let requests = of_tenant(Scope::Quota(embermesh_escrow::Quota::Requests));
        let other = TenantId::new(uuid::Uuid::from_u128(7));
        let used = [
            (TenantId::SYSTEM, &docs, Period::Day, 0.75),
            (other, &docs, Period::Day, 0.25),
            (TenantId::SYSTEM, &whole, Period::Month, 0.5),
            (other, &whole, Period::Month, 0.125),
            (other, &requests, Period::Day, 0.375),
        ];
        gauges.show(used.into_iter());
        let shown = lines(&metrics);
        assert_eq!(shown.len(), 4, "{shown:?}");
        assert!(shown.iter().any(|line| line.ends_with("subject=\"docs\"} 0.75")), "{shown:?}");
        let of_other = format!("subject=\"{other}\"}} 0.125");
        assert!(shown.iter().any(|line| line.ends_with(&of_other)), "{shown:?}");
        let quota = format!("scope=\"requests\",subject=\"{other}\"}} 0.375");
        assert!(shown.iter().any(|line| line.ends_with(&quota)), "{shown:?}");
    }
}
