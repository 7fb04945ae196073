//! One tenant's balances during a transaction that holds their locks: decides who gets in, and adds up what to write.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use embermesh_errors::{Code, Error};
use embermesh_types::{AgentId, NanoUsd};
use jiff::civil::Date;

use super::{
    attempt::Attempt,
    balance::{Balance, BalanceKey},
    limits::Limits,
    period::{Period, day_of, seconds_until},
};

/// What to add to a balance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) spent: i64,
    pub(crate) reserved: i64,
    /// The part of `reserved` that was let in under `limit`.
    pub(crate) admitted: i64,
    pub(crate) limit: Option<i64>,
}

/// Balances as they were locked, and what has been decided since.
#[derive(Debug, Default)]
pub(crate) struct Books {
    locked: HashMap<BalanceKey, Balance>,
    deltas: BTreeMap<BalanceKey, Delta>,
}

impl Books {
    pub(crate) fn new(locked: HashMap<BalanceKey, Balance>) -> Self {
        Self { locked, deltas: BTreeMap::new() }
    }

    /// Sets `amount` aside for `agent` now, or refuses. Without knowing the limits nothing that costs is let in.
    pub(crate) fn reserve(
        &mut self,
        agent: &AgentId,
        amount: NanoUsd,
        limits: Option<&Limits>,
        now: SystemTime,
    ) -> Result<(), Error> {
        let Some(limits) = limits else {
            if amount == NanoUsd::ZERO {
                return Ok(());
            }
            let message = "the ledger does not know the budgets yet, try again once it has reached admin";
            return Err(Error::unavailable(message));
        };
        if let Some(limit) = limits.request.filter(|limit| amount > *limit) {
            // waiting does not help
            let error = Error::new(
                Code::BudgetExceeded,
                format!("the call may cost {amount} USD, more than a request may"),
            );
            return Err(error.with_detail("limit", usd(limit)).with_detail("period", "request"));
        }
        // what costs nothing passes no limit, and must not wait for anybody's lock
        if amount == NanoUsd::ZERO {
            return Ok(());
        }
        let day = day_of(now);
        let keys = BalanceKey::both(agent, day);
        for key in &keys {
            let Some(limit) = limits.over(key.period) else { continue };
            let balance = self.balance(key);
            if !balance.has_room(amount, limit) {
                return Err(exceeded(key.period, day, limit, balance, now));
            }
        }
        for key in keys {
            let limit = limits.over(key.period).map(|limit| limit.0);
            let delta = self.deltas.entry(key).or_default();
            delta.reserved += amount.0;
            delta.admitted += amount.0;
            delta.limit = limit;
        }
        Ok(())
    }

    /// Turns what an attempt had reserved into `amount` spent, in the periods in which it was reserved.
    pub(crate) fn settle(&mut self, attempt: &Attempt, amount: NanoUsd) {
        if attempt.reserved == NanoUsd::ZERO && amount == NanoUsd::ZERO {
            return;
        }
        for key in BalanceKey::both(&attempt.agent, attempt.day) {
            let delta = self.deltas.entry(key).or_default();
            delta.reserved -= attempt.reserved.0;
            delta.spent += amount.0;
        }
    }

    /// Everything to write.
    pub(crate) fn into_deltas(self) -> BTreeMap<BalanceKey, Delta> {
        self.deltas
    }

    /// As it would be for a reader now. Reservations are decided before settlements, so only what is let in counts.
    fn balance(&self, key: &BalanceKey) -> Balance {
        let mut balance = self.locked.get(key).copied().unwrap_or_default();
        if let Some(delta) = self.deltas.get(key) {
            balance.reserved.0 = balance.reserved.0.saturating_add(delta.admitted);
        }
        balance
    }
}

fn exceeded(period: Period, day: Date, limit: NanoUsd, balance: Balance, now: SystemTime) -> Error {
    let name = period.as_str();
    Error::new(Code::BudgetExceeded, format!("the agent's budget of {limit} USD a {name} is used up"))
        .with_retry_after(seconds_until(period.end(day), now))
        .with_detail("period", name)
        .with_detail("limit", usd(limit))
        .with_detail("spent", usd(balance.spent))
        .with_detail("reserved", usd(balance.reserved))
}

/// A JSON number of USD.
fn usd(amount: NanoUsd) -> serde_json::Value {
    let text = amount.to_string();
    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_348_800)
    }

    fn books(spent: i64, reserved: i64) -> Books {
        let balance = Balance { spent: NanoUsd(spent), reserved: NanoUsd(reserved) };
        let keys = BalanceKey::both(&AgentId::default(), day_of(now()));
        Books::new(keys.into_iter().map(|key| (key, balance)).collect())
    }

    fn reserve(books: &mut Books, amount: i64, limits: &Limits) -> Result<(), Error> {
        books.reserve(&AgentId::default(), NanoUsd(amount), Some(limits), now())
    }

    #[test]
    fn reservations_of_one_transaction_count_against_each_other() {
        let limits = Limits { day: Some(NanoUsd(10)), ..Limits::default() };
        let mut books = books(3, 2);
        assert!(reserve(&mut books, 3, &limits).is_ok());
        let error = reserve(&mut books, 3, &limits).unwrap_err();
        assert_eq!(error.code, Code::BudgetExceeded);
        assert_eq!(error.retry_after, Some(Duration::from_secs(12 * 3600)));
        assert_eq!(error.details["period"], "day");
        assert!(reserve(&mut books, 2, &limits).is_ok());
        for (_, delta) in books.into_deltas() {
            assert_eq!((delta.reserved, delta.admitted, delta.spent), (5, 5, 0));
        }
    }

    #[test]
    fn every_limit_is_kept_and_none_is_no_limit() {
        let month = Limits { day: Some(NanoUsd(100)), month: Some(NanoUsd(4)), ..Limits::default() };
        let error = reserve(&mut books(3, 0), 2, &month).unwrap_err();
        assert_eq!((&error.details["period"], &error.details["limit"]), (&"month".into(), &4e-9.into()));
        let request = Limits { request: Some(NanoUsd(5)), ..Limits::default() };
        assert_eq!(reserve(&mut books(0, 0), 6, &request).unwrap_err().retry_after, None);
        assert!(reserve(&mut books(i64::MAX - 5, 0), 5, &Limits::default()).is_ok());
        // nothing is let in free of charge into a budget of nothing, and nothing is locked for it
        let none = Limits { day: Some(NanoUsd::ZERO), ..Limits::default() };
        let mut books = books(0, 0);
        assert!(reserve(&mut books, 1, &none).is_err());
        assert!(reserve(&mut books, 0, &none).is_ok());
        assert!(books.into_deltas().is_empty());
    }
}
