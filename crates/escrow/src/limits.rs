//! The limits that a call has to pass, from everything that is configured.

use embermesh_proto::v1::{Agent, BudgetRule, Quotas};
use embermesh_types::NanoUsd;

use crate::{Amount, Path, Period, Quota, Scope};

/// What an account may take in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Of the path, the account.
    pub scope: Scope,
    /// Day or month.
    pub period: Period,
    /// At most.
    pub amount: Amount,
}

/// Everything that limits one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// At most one for each account and period: the smallest.
    over: Vec<Limit>,
    request: Option<NanoUsd>,
}

impl Limits {
    /// The limits of money on a path, whose agent has this configuration, among the budgets of its tenant.
    pub fn of<'a>(
        path: &Path,
        agent: Option<&Agent>,
        budgets: impl IntoIterator<Item = &'a BudgetRule>,
    ) -> Self {
        let mut limits = Self::default();
        if let Some(constraints) = agent.and_then(|agent| agent.constraints.as_ref()) {
            let of_agent = [
                ("day", constraints.max_cost_per_day_nano_usd),
                ("month", constraints.max_cost_per_month_nano_usd),
                ("request", constraints.max_cost_per_request_nano_usd),
            ];
            for (period, amount) in of_agent {
                if let Some(amount) = amount {
                    limits.add(Scope::Agent, period, NanoUsd(amount));
                }
            }
        }
        for budget in budgets {
            let scope = Scope::parse(&budget.scope).filter(|scope| path.scopes().contains(scope));
            if let Some(scope) = scope.filter(|scope| path.subject(*scope) == budget.subject) {
                limits.add(scope, &budget.period, NanoUsd(budget.limit_nano_usd));
            }
        }
        limits
    }

    /// The limits of a quota, of a tenant that has these.
    pub fn of_quota(quota: Quota, quotas: Option<&Quotas>) -> Self {
        let limits = Period::BOTH.into_iter().filter_map(|period| {
            let limit = quotas.and_then(|quotas| of_period(quota, quotas, period))?;
            let amount = Amount(i64::try_from(limit).unwrap_or(i64::MAX));
            Some(Limit { scope: Scope::Quota(quota), period, amount })
        });
        Self { over: limits.collect(), request: None }
    }

    fn add(&mut self, scope: Scope, period: &str, amount: NanoUsd) {
        let period = match period {
            "day" => Period::Day,
            "month" => Period::Month,
            _ => {
                self.request = Some(self.request.map_or(amount, |known| known.min(amount)));
                return;
            }
        };
        let known = self.over.iter_mut().find(|limit| limit.scope == scope && limit.period == period);
        match known {
            Some(limit) => limit.amount = limit.amount.min(amount.into()),
            None => self.over.push(Limit { scope, period, amount: amount.into() }),
        }
    }

    /// What a day and a month are limited to.
    pub fn over(&self) -> &[Limit] {
        &self.over
    }

    /// The limit of an account over a period; `None`: there is none.
    pub fn of_account(&self, scope: Scope, period: Period) -> Option<Amount> {
        self.over
            .iter()
            .find(|limit| limit.scope == scope && limit.period == period)
            .map(|limit| limit.amount)
    }

    /// What a single call may cost; `None`: there is no limit.
    pub const fn request(&self) -> Option<NanoUsd> {
        self.request
    }
}

/// Whether a tenant that has these is limited in a quota.
pub fn has_quota(quota: Quota, quotas: &Quotas) -> bool {
    Period::BOTH.into_iter().any(|period| of_period(quota, quotas, period).is_some())
}

const fn of_period(quota: Quota, quotas: &Quotas, period: Period) -> Option<u64> {
    match (quota, period) {
        (Quota::Requests, Period::Day) => quotas.requests_per_day,
        (Quota::Requests, Period::Month) => quotas.requests_per_month,
        (Quota::Tokens, Period::Day) => quotas.tokens_per_day,
        (Quota::Tokens, Period::Month) => quotas.tokens_per_month,
    }
}

#[cfg(test)]
mod tests {
    use embermesh_proto::v1::Constraints;

    use super::*;

    fn path() -> Path {
        Path::Money { agent: "a".parse().unwrap(), key: "k1".parse().unwrap(), provider: "openai".to_owned() }
    }

    fn budget(scope: &str, subject: &str, period: &str, limit: i64) -> BudgetRule {
        BudgetRule {
            scope: scope.to_owned(),
            subject: subject.to_owned(),
            period: period.to_owned(),
            limit_nano_usd: limit,
            ..BudgetRule::default()
        }
    }

    #[test]
    fn the_smallest_of_each_account_and_period_counts_and_foreign_ones_do_not() {
        let constraints = Constraints {
            max_cost_per_day_nano_usd: Some(100),
            max_cost_per_request_nano_usd: Some(9),
            ..Constraints::default()
        };
        let agent = Agent { constraints: Some(constraints), ..Agent::default() };
        let budgets = [
            budget("agent", "a", "day", 70),
            budget("agent", "b", "day", 1),
            budget("tenant", "", "month", 500),
            budget("provider", "openai", "request", 4),
            budget("key", "k2", "day", 2),
        ];
        let limits = Limits::of(&path(), Some(&agent), &budgets);
        assert_eq!(limits.of_account(Scope::Agent, Period::Day), Some(Amount(70)));
        assert_eq!(limits.of_account(Scope::Tenant, Period::Month), Some(Amount(500)));
        assert_eq!(limits.over().len(), 2);
        assert_eq!(limits.request(), Some(NanoUsd(4)));
        assert_eq!(Limits::of(&path(), None, &[]), Limits::default());
    }

    #[test]
    fn a_quota_is_limited_by_its_own_figures_and_no_budget_limits_it() {
        let quotas =
            Quotas { requests_per_day: Some(0), tokens_per_month: Some(u64::MAX), ..Quotas::default() };
        let requests = Limits::of_quota(Quota::Requests, Some(&quotas));
        let of_requests = Scope::Quota(Quota::Requests);
        assert_eq!(requests.over(), [Limit { scope: of_requests, period: Period::Day, amount: Amount(0) }]);
        let tokens = Limits::of_quota(Quota::Tokens, Some(&quotas));
        let of_tokens = Scope::Quota(Quota::Tokens);
        assert_eq!(tokens.of_account(of_tokens, Period::Month), Some(Amount(i64::MAX)));
        assert_eq!(tokens.of_account(of_tokens, Period::Day), None);
        assert!(has_quota(Quota::Tokens, &quotas) && !has_quota(Quota::Tokens, &Quotas::default()));
        assert_eq!(Limits::of_quota(Quota::Tokens, None), Limits::default());
        let disguised = [budget("requests", "", "day", 1)];
        assert_eq!(Limits::of(&path(), None, &disguised), Limits::default());
    }
}
