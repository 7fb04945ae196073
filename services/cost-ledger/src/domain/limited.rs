//! Every limit of a day or a month that is configured, by the account that it limits.

use std::collections::BTreeMap;

use embermesh_escrow::{Account, Period, Scope};
use embermesh_proto::v1::{Agent, BudgetRule};
use embermesh_types::{AgentId, NanoUsd};
use jiff::civil::Date;

use super::balance::BalanceKey;

/// Whose passing is told where a budget does not say.
const DEFAULT_PERCENTS: [u32; 3] = [50, 80, 100];

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) account: Account,
    pub(crate) period: Period,
    pub(crate) limit: NanoUsd,
    /// Shares of the limit whose passing is told.
    pub(crate) percents: Vec<u32>,
    /// `None`: a limit in the agent's own configuration.
    pub(crate) budget: Option<String>,
    /// Whether it is the smallest of its account and period, which is the one that calls have to pass.
    pub(crate) effective: bool,
}

impl Limited {
    /// The balance that it limits on `day`.
    pub(crate) fn key(&self, day: Date) -> BalanceKey {
        let Account { scope, subject } = self.account.clone();
        BalanceKey { scope, subject, period: self.period, start: self.period.start(day) }
    }

    /// The shares that `used` has passed.
    pub(crate) fn passed(&self, used: NanoUsd) -> impl Iterator<Item = u32> {
        let (limit, used) = (i128::from(self.limit.0), i128::from(used.0));
        let passed = move |percent: u32| {
            // the last nano-dollar is never spent: a call that may cost more than what remains is refused before
            let thousandths = if percent >= 100 { 995 } else { i128::from(percent) * 10 };
            limit > 0 && used * 1000 >= limit * thousandths
        };
        self.percents.iter().copied().filter(move |percent| passed(*percent))
    }

    /// What is used of it, as a share; `None` for a limit of nothing.
    pub(crate) fn utilization(&self, used: NanoUsd) -> Option<f64> {
        share(used.0, self.limit.0)
    }
}

/// What is used of a limit; `None` for a limit of nothing.
#[expect(clippy::cast_precision_loss, reason = "a share for people and graphs, nothing is decided by it")]
pub(crate) fn share(used: i64, limit: i64) -> Option<f64> {
    (limit > 0).then(|| used as f64 / limit as f64)
}

/// The limits of a tenant with these agents and budgets.
pub(crate) fn of_tenant<'a>(
    agents: impl IntoIterator<Item = &'a Agent>,
    budgets: impl IntoIterator<Item = &'a BudgetRule>,
) -> Vec<Limited> {
    let mut limited: Vec<Limited> = budgets.into_iter().filter_map(of_budget).collect();
    limited.extend(agents.into_iter().flat_map(of_agent));
    let mut smallest: BTreeMap<(Account, Period), usize> = BTreeMap::new();
    for (at, one) in limited.iter().enumerate() {
        let known = smallest.entry((one.account.clone(), one.period)).or_insert(at);
        if one.limit < limited[*known].limit {
            *known = at;
        }
    }
    for at in smallest.into_values() {
        limited[at].effective = true;
    }
    limited
}

/// What an agent may spend a day, whatever else limits it; `None`: no limit is its own.
pub(crate) fn day_of_agent<'a>(
    id: &AgentId,
    agent: Option<&Agent>,
    budgets: impl IntoIterator<Item = &'a BudgetRule>,
) -> Option<NanoUsd> {
    let own = agent.and_then(|agent| agent.constraints.as_ref()?.max_cost_per_day_nano_usd);
    let (scope, period) = (Scope::Agent.as_str(), Period::Day.as_str());
    let of_it = |budget: &&BudgetRule| {
        budget.scope == scope && budget.period == period && budget.subject == id.as_str()
    };
    let budgets = budgets.into_iter().filter(of_it).map(|budget| budget.limit_nano_usd);
    own.into_iter().chain(budgets).min().map(NanoUsd)
}

fn of_budget(budget: &BudgetRule) -> Option<Limited> {
    let period = Period::BOTH.into_iter().find(|period| period.as_str() == budget.period)?;
    let scope = Scope::parse(&budget.scope)?;
    let percents = match &*budget.alert_percents {
        [] => DEFAULT_PERCENTS.to_vec(),
        percents => percents.iter().copied().filter(|percent| (1..=100).contains(percent)).collect(),
    };
    Some(Limited {
        account: Account { scope, subject: budget.subject.clone() },
        period,
        limit: NanoUsd(budget.limit_nano_usd),
        percents,
        budget: Some(budget.id.clone()),
        effective: false,
    })
}

fn of_agent(agent: &Agent) -> impl Iterator<Item = Limited> {
    let constraints = agent.constraints.as_ref();
    let limits = [
        (Period::Day, constraints.and_then(|own| own.max_cost_per_day_nano_usd)),
        (Period::Month, constraints.and_then(|own| own.max_cost_per_month_nano_usd)),
    ];
    limits.into_iter().filter_map(|(period, limit)| {
        Some(Limited {
            account: Account { scope: Scope::Agent, subject: agent.agent_id.clone() },
            period,
            limit: NanoUsd(limit?),
            percents: DEFAULT_PERCENTS.to_vec(),
            budget: None,
            effective: false,
        })
    })
}

#[cfg(test)]
mod tests {
    use embermesh_proto::v1::Constraints;

    use super::*;

    fn agent(day: i64) -> Agent {
        let constraints = Constraints { max_cost_per_day_nano_usd: Some(day), ..Constraints::default() };
        Agent { agent_id: "docs".to_owned(), constraints: Some(constraints), ..Agent::default() }
    }

    fn budget(id: &str, scope: &str, subject: &str, period: &str, limit: i64) -> BudgetRule {
        BudgetRule {
            id: id.to_owned(),
            scope: scope.to_owned(),
            subject: subject.to_owned(),
            period: period.to_owned(),
            limit_nano_usd: limit,
            ..BudgetRule::default()
        }
    }

    #[test]
    fn of_two_limits_on_one_account_the_smaller_counts_and_both_are_listed() {
        let budgets = [
            budget("1", "agent", "docs", "day", 70),
            budget("2", "tenant", "", "month", 500),
            budget("3", "provider", "openai", "request", 4),
        ];
        let agent = agent(100);
        let listed: Vec<_> = of_tenant([&agent], &budgets)
            .into_iter()
            .map(|one| (one.budget, one.limit.0, one.effective))
            .collect();
        let id = |id: &str| Some(id.to_owned());
        assert_eq!(listed, [(id("1"), 70, true), (id("2"), 500, true), (None, 100, false)]);
        let docs = "docs".parse().unwrap();
        assert_eq!(day_of_agent(&docs, Some(&agent), &budgets), Some(NanoUsd(70)));
        assert_eq!(day_of_agent(&docs, Some(&agent), &[]), Some(NanoUsd(100)));
        assert_eq!(day_of_agent(&"code".parse().unwrap(), None, &budgets), None);
    }

    #[test]
    fn a_share_is_passed_when_it_is_reached_and_the_whole_a_little_before() {
        let mut limited = of_tenant([&agent(1000)], []).remove(0);
        let passed = |limited: &Limited, used| limited.passed(NanoUsd(used)).collect::<Vec<_>>();
        assert!(passed(&limited, 499).is_empty());
        assert_eq!(passed(&limited, 500), [50]);
        assert_eq!(passed(&limited, 994), [50, 80]);
        assert_eq!(passed(&limited, 995), [50, 80, 100]);
        assert_eq!(limited.utilization(NanoUsd(250)), Some(0.25));
        limited.limit = NanoUsd(i64::MAX);
        assert_eq!(passed(&limited, i64::MAX), [50, 80, 100]);
        limited.limit = NanoUsd(0);
        assert_eq!((passed(&limited, 0), limited.utilization(NanoUsd(0))), (vec![], None));
    }

    #[test]
    fn a_budget_says_which_shares_are_told() {
        let mut budget = budget("1", "key", "k1", "month", 100);
        budget.alert_percents = vec![10, 95];
        let limited = of_tenant([], [&budget]).remove(0);
        assert_eq!(limited.passed(NanoUsd(96)).collect::<Vec<_>>(), [10, 95]);
    }
}
