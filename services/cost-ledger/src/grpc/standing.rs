//! Where budgets stand, as it is told.

use std::{cmp::Ordering, collections::HashMap, sync::Arc, time::SystemTime};

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_escrow::{Account, Amount, Limit, Limits, Path, Period, Quota, Scope, day_of, midnight};
use embermesh_proto::v1::{Budget, BudgetAlert, BudgetState, QuotaState};
use embermesh_subscription::Snapshot;
use embermesh_types::{NanoUsd, TenantId};
use jiff::civil::Date;

use crate::{
    domain::{
        balance::{Balance, BalanceKey},
        forecast::{Course, reached_at},
        limited::{self, Limited, share},
    },
    service::Shared,
    store::failed,
};

/// A limit, if there is one, and what its account has in the period of `now`.
pub(super) fn budget(limit: Option<NanoUsd>, balance: &Balance, period: Period, now: SystemTime) -> Budget {
    let day = day_of(now);
    let course = Course { began: midnight(period.start(day)), now, ends: period.end(day) };
    let forecast = limit.and_then(|limit| reached_at(balance.used().nano_usd(), limit, course));
    Budget {
        limit_nano_usd: limit.map(|limit| limit.0),
        spent_nano_usd: balance.spent.0,
        // what lies in leases is set aside, too
        reserved_nano_usd: balance.reserved.0.saturating_add(balance.leased.0),
        presumed_nano_usd: balance.presumed.0,
        resets_at: Some(course.ends.into()),
        forecast_reached_at: forecast.map(Into::into),
    }
}

fn known(shared: &Shared) -> Result<Arc<Snapshot>, Error> {
    let unknown = "the ledger does not know the budgets yet, try again once it has reached admin";
    shared.subscription.known().ok_or_else(|| Error::unavailable(unknown))
}

/// Every limited quota of a tenant.
pub(super) async fn quotas(shared: &Shared, tenant: TenantId) -> Result<Vec<QuotaState>, Error> {
    let known = known(shared)?;
    let day = day_of(shared.clock.now());
    let limits = Quota::BOTH.map(|quota| (quota, Limits::of_quota(quota, known.quotas(tenant))));
    let limited: Vec<_> = limits
        .iter()
        .flat_map(|(quota, limits)| limits.over().iter().map(move |limit| (*quota, *limit)))
        .collect();
    let key = |(quota, limit): &(Quota, Limit)| {
        BalanceKey::new(&Path::Quota(*quota), limit.scope, limit.period, day)
    };
    let keys: Vec<BalanceKey> = limited.iter().map(key).collect();
    let balances = shared.store.standings(tenant, &keys).await.map_err(|error| failed(&error))?;
    let states = limited.iter().zip(&balances);
    Ok(states.map(|((quota, limit), balance)| quota_state(*quota, *limit, balance, day)).collect())
}

fn quota_state(quota: Quota, limit: Limit, balance: &Balance, day: Date) -> QuotaState {
    // a check of the table keeps them from falling below nothing
    let count = |amount: Amount| u64::try_from(amount.0).unwrap_or_default();
    QuotaState {
        quota: quota.as_str().to_owned(),
        period: limit.period.as_str().to_owned(),
        limit: count(limit.amount),
        used: count(balance.spent),
        reserved: count(balance.reserved).saturating_add(count(balance.leased)),
        presumed: count(balance.presumed),
        utilization: share(balance.used().0, limit.amount.0),
        resets_at: Some(limit.period.end(day).into()),
    }
}

/// Every limit of the caller's tenant, fullest first; for a key of one agent those of that agent and of the key itself.
pub(super) async fn states(shared: &Shared, caller: &Principal) -> Result<Vec<BudgetState>, Error> {
    let known = known(shared)?;
    let (tenant, now) = (caller.tenant, shared.clock.now());
    let day = day_of(now);
    let agents = known.agents_of(tenant).map(AsRef::as_ref);
    let mut limited = limited::of_tenant(agents, known.budgets(tenant).map(AsRef::as_ref));
    limited.retain(|one| may_see(caller, &one.account));
    let keys: Vec<BalanceKey> = limited.iter().map(|one| one.key(day)).collect();
    let balances = shared.store.standings(tenant, &keys).await.map_err(|error| failed(&error))?;
    let mut alerts: HashMap<BalanceKey, Vec<BudgetAlert>> = HashMap::new();
    for passed in shared.store.passed(tenant, day).await.map_err(|error| failed(&error))? {
        let alert = BudgetAlert { percent: passed.percent, reached_at: Some(passed.reached_at.into()) };
        alerts.entry(passed.key).or_default().push(alert);
    }
    let mut states: Vec<BudgetState> = limited
        .into_iter()
        .zip(keys.iter().zip(&balances))
        .map(|(limited, (key, balance))| {
            // told of the smaller of two limits on one account
            let alerts = if limited.effective { alerts.remove(key).unwrap_or_default() } else { Vec::new() };
            state(limited, balance, alerts, now)
        })
        .collect();
    states.sort_by(fuller_first);
    Ok(states)
}

fn may_see(caller: &Principal, account: &Account) -> bool {
    let Some(agent) = &caller.agent else { return true };
    match account.scope {
        Scope::Agent => account.subject == agent.as_str(),
        Scope::Key => account.subject == caller.key.as_str(),
        Scope::Tenant | Scope::Provider | Scope::Quota(_) => false,
    }
}

fn state(limited: Limited, balance: &Balance, alerts: Vec<BudgetAlert>, now: SystemTime) -> BudgetState {
    BudgetState {
        utilization: limited.utilization(balance.used().nano_usd()),
        budget: Some(budget(Some(limited.limit), balance, limited.period, now)),
        scope: limited.account.scope.as_str().to_owned(),
        subject: limited.account.subject,
        period: limited.period.as_str().to_owned(),
        budget_id: limited.budget,
        alerts,
    }
}

/// Limits of nothing come last: they have no share to be ordered by.
fn fuller_first(a: &BudgetState, b: &BudgetState) -> Ordering {
    let share = |state: &BudgetState| state.utilization.unwrap_or(-1.0);
    let name = |state: &BudgetState| (state.scope.clone(), state.subject.clone(), state.period.clone());
    share(b).total_cmp(&share(a)).then_with(|| name(a).cmp(&name(b)))
}
