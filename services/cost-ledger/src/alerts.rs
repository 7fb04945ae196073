//! Watches how much of every limit is used: shows it in the metrics, and tells once when a share of it is passed.
//!
//! Once means once over all replicas and restarts: the row in `budget_alerts` decides who tells.

mod gauges;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use embermesh_errors::Error;
use embermesh_escrow::{Account, Limits, Path, Quota, day_of};
use embermesh_lifecycle::Tasks;
use embermesh_subscription::Snapshot;
use embermesh_telemetry::Metrics;
use embermesh_types::{NanoUsd, TenantId};
use gauges::Gauges;
use jiff::civil::Date;
use prometheus::{IntCounterVec, Opts};
use tokio::time::sleep;

use crate::{
    domain::{
        balance::BalanceKey,
        limited::{self, Limited, share},
    },
    service::Shared,
    store::{Passed, failed},
};

const EVERY: Duration = Duration::from_secs(5);

/// What was told, and what is shown.
#[derive(Debug)]
pub(crate) struct Alerts {
    told: IntCounterVec,
    gauges: Gauges,
    /// Written down, by whichever replica: the database need not be asked again.
    known: Mutex<HashSet<(TenantId, BalanceKey, u32)>>,
}

impl Alerts {
    /// Registers the metrics.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let told = Opts::new(
            "embedding_budget_alerts_total",
            "Shares of budgets that were passed, counted by the replica that told of it.",
        );
        let told = metrics.register(IntCounterVec::new(told, &["scope", "period", "percent"])?);
        Ok(Self { told, gauges: Gauges::new(metrics)?, known: Mutex::default() })
    }

    /// What nobody is known to have written down yet.
    fn unknown(&self, tenant: TenantId, key: &BalanceKey, percent: u32) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        !known.contains(&(tenant, key.clone(), percent))
    }

    fn note(&self, tenant: TenantId, passed: &[Passed]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(passed.iter().map(|one| (tenant, one.key.clone(), one.percent)));
    }

    /// Forgets periods that are over.
    fn forget(&self, is_now: impl Fn(&BalanceKey) -> bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, key, _)| is_now(key));
    }
}

/// Watches until the process stops.
pub(crate) async fn run(shared: Arc<Shared>, tasks: Tasks) {
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = tasks.stopping() => return,
        }
        if let Err(error) = look(&shared).await {
            tracing::warn!(%error, "cannot look at the budgets");
        }
    }
}

/// Looks at every limit once; returns how many shares were told.
pub(crate) async fn look(shared: &Shared) -> Result<usize, Error> {
    let Some(snapshot) = shared.subscription.known() else { return Ok(0) };
    let now = shared.clock.now();
    let day = day_of(now);
    let watched: Vec<Watched> = watched(&snapshot)
        .map(|(tenant, limited)| Watched { tenant, key: limited.key(day), limited })
        .collect();
    let quotas: Vec<QuotaLimit> = quotas(&snapshot, day);
    let keys = watched.iter().map(|one| (one.tenant, &one.key));
    let keys: Vec<_> = keys.chain(quotas.iter().map(|one| (one.tenant, &one.key))).collect();
    let balances = shared.store.standings_of_all(&keys).await.map_err(|error| failed(&error))?;
    let (of_budgets, of_quotas) = balances.split_at(watched.len().min(balances.len()));
    let used: Vec<NanoUsd> = of_budgets.iter().map(|balance| balance.used().nano_usd()).collect();
    let budgets = watched.iter().zip(&used).filter_map(|(one, used)| {
        Some((one.tenant, &one.limited.account, one.limited.period, one.limited.utilization(*used)?))
    });
    let quotas = quotas.iter().zip(of_quotas).filter_map(|(one, balance)| {
        Some((one.tenant, &one.account, one.key.period, share(balance.used().0, one.limit)?))
    });
    shared.alerts.gauges.show(budgets.chain(quotas));
    let mut passed: BTreeMap<TenantId, Vec<Passed>> = BTreeMap::new();
    for (Watched { tenant, key, limited }, used) in watched.iter().zip(used) {
        for percent in limited.passed(used).filter(|percent| shared.alerts.unknown(*tenant, key, *percent)) {
            let one = Passed { key: key.clone(), percent, limit: limited.limit, used, reached_at: now };
            passed.entry(*tenant).or_default().push(one);
        }
    }
    let mut told = 0;
    for (tenant, passed) in passed {
        let new = shared.store.pass(tenant, &passed).await.map_err(|error| failed(&error))?;
        shared.alerts.note(tenant, &passed);
        new.iter().for_each(|one| tell(&shared.alerts, tenant, one));
        told += new.len();
    }
    shared.alerts.forget(|key| key.start == key.period.start(day));
    Ok(told)
}

/// A limit and its balance now.
struct Watched {
    tenant: TenantId,
    key: BalanceKey,
    limited: Limited,
}

/// A quota's limit and where its balance is.
struct QuotaLimit {
    tenant: TenantId,
    account: Account,
    key: BalanceKey,
    limit: i64,
}

/// The quotas of every tenant.
fn quotas(snapshot: &Snapshot, day: Date) -> Vec<QuotaLimit> {
    let mut limits = Vec::new();
    for (tenant, quotas) in snapshot.all_quotas() {
        for quota in Quota::BOTH {
            let path = Path::Quota(quota);
            limits.extend(Limits::of_quota(quota, Some(quotas)).over().iter().map(|limit| QuotaLimit {
                tenant,
                account: path.account(limit.scope),
                key: BalanceKey::new(&path, limit.scope, limit.period, day),
                limit: limit.amount.0,
            }));
        }
    }
    limits
}

/// The limits that calls have to pass, of every tenant.
fn watched(snapshot: &Snapshot) -> impl Iterator<Item = (TenantId, Limited)> {
    let mut tenants: BTreeMap<TenantId, (Vec<_>, Vec<_>)> = BTreeMap::new();
    for (tenant, agent) in snapshot.agents() {
        tenants.entry(tenant).or_default().0.push(agent.as_ref());
    }
    for (tenant, budget) in snapshot.all_budgets() {
        tenants.entry(tenant).or_default().1.push(budget.as_ref());
    }
    tenants.into_iter().flat_map(|(tenant, (agents, budgets))| {
        let limited = limited::of_tenant(agents, budgets).into_iter().filter(|one| one.effective);
        limited.map(move |one| (tenant, one))
    })
}

fn tell(alerts: &Alerts, tenant: TenantId, passed: &Passed) {
    let Passed { key, percent, limit, used, .. } = passed;
    let (scope, period) = (key.scope.as_str(), key.period.as_str());
    alerts.told.with_label_values(&[scope, period, &percent.to_string()]).inc();
    tracing::warn!(
        %tenant,
        scope,
        subject = key.subject,
        period,
        period_start = %key.start,
        percent,
        limit_usd = %limit,
        used_usd = %used,
        "budget threshold reached"
    );
}
