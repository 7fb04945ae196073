//! A retry budget: successes pay for retries, so an outage is not answered with a storm.
//!
//! A call that works deposits one token and a retry withdraws several, so in the long run there is at most one retry per so many
//! successes. With a cost of five the calls sent are at most 1.2 times the calls asked for, however bad the day; the capacity only
//! sets how large a burst of failures is retried before that bound bites.

use std::sync::atomic::{AtomicU32, Ordering};

/// Tokens for retries; starts full.
#[derive(Debug)]
pub struct RetryBudget {
    capacity: u32,
    left: AtomicU32,
}

impl RetryBudget {
    /// A full budget of `capacity` tokens.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self { capacity, left: AtomicU32::new(capacity) }
    }

    /// Takes `cost` tokens for a retry, or none and answers no.
    #[must_use]
    pub fn withdraw(&self, cost: u32) -> bool {
        self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(cost)).is_ok()
    }

    /// Adds one token, for a call that worked.
    pub fn deposit(&self) {
        let more = |left: u32| (left < self.capacity).then_some(left + 1);
        // full is fine
        let _ = self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Tokens there are.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COST: u32 = 5;

    /// Calls sent for requests of at most three attempts, each attempt failing or not in turn.
    fn sent(budget: &RetryBudget, requests: usize, mut fails: impl FnMut() -> bool) -> usize {
        let mut sent = 0;
        for _ in 0..requests {
            for attempt in 0..3 {
                if attempt > 0 && !budget.withdraw(COST) {
                    break;
                }
                sent += 1;
                if !fails() {
                    budget.deposit();
                    break;
                }
            }
        }
        sent
    }

    proptest! {
        #[test]
        fn calls_sent_are_at_most_a_fifth_more_than_asked_for_once_the_capacity_is_used(
            outcomes in proptest::collection::vec(any::<bool>(), 1..50), capacity in 0_u32..600, requests in 1_usize..2_000,
        ) {
            let mut outcome = outcomes.iter().cycle();
            let sent = sent(&RetryBudget::new(capacity), requests, || outcome.next().copied().unwrap_or(true));
            let bound = 1.2 * requests as f64 + f64::from(capacity) / f64::from(COST);
            prop_assert!(sent as f64 <= bound, "{sent} calls for {requests} requests, {bound} allowed");
        }
    }

    #[test]
    fn an_outage_costs_the_capacity_and_no_more() {
        let budget = RetryBudget::new(100);
        assert_eq!(sent(&budget, 10_000, || true), 10_000 + 20);
        assert_eq!(budget.left(), 0);
    }

    #[test]
    fn a_budget_neither_overflows_nor_goes_below_zero() {
        let budget = RetryBudget::new(7);
        budget.deposit();
        assert_eq!(budget.left(), 7);
        assert!(budget.withdraw(5) && !budget.withdraw(5));
        assert_eq!(budget.left(), 2);
    }

    #[test]
    fn threads_together_take_what_there_is_and_no_more() {
        let budget = RetryBudget::new(1_000);
        let taken: usize = std::thread::scope(|scope| {
            let takers: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..1_000).filter(|_| budget.withdraw(1)).count())).collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!((taken, budget.left()), (1_000, 0));
    }
}
