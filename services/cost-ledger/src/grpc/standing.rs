//! Where budgets stand, as it is told.

use std::{cmp::Ordering, collections::HashMap, time::SystemTime};

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_escrow::{Account, Period, Scope, day_of, midnight};
use embermesh_proto::v1::{Budget, BudgetAlert, BudgetState};
use embermesh_types::NanoUsd;

use crate::{
    domain::{
        balance::{Balance, BalanceKey},
        forecast::{Course, reached_at},
        limited::{self, Limited},
    },
    service::Shared,
    store::failed,
};

/// A limit, if there is one, and what its account has in the period of `now`.
pub(super) fn budget(limit: Option<NanoUsd>, balance: &Balance, period: Period, now: SystemTime) -> Budget {
    let day = day_of(now);
    let course = Course { began: midnight(period.start(day)), now, ends: period.end(day) };
    let forecast = limit.and_then(|limit| reached_at(balance.used(), limit, course));
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

/// Every limit of the caller's tenant, fullest first; for a key of one agent those of that agent and of the key itself.
pub(super) async fn states(shared: &Shared, caller: &Principal) -> Result<Vec<BudgetState>, Error> {
    let unknown = "the ledger does not know the budgets yet, try again once it has reached admin";
    let known = shared.subscription.known().ok_or_else(|| Error::unavailable(unknown))?;
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
        Scope::Tenant | Scope::Provider => false,
    }
}

fn state(limited: Limited, balance: &Balance, alerts: Vec<BudgetAlert>, now: SystemTime) -> BudgetState {
    BudgetState {
        utilization: limited.utilization(balance.used()),
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
