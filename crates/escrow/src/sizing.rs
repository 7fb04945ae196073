//! How large a slice of its budgets a router may have.
//!
//! What lies in leases unused is money that others are refused. So all leases of an account together hold at most a twenty-fifth of its
//! limit, and near the limit there are none: then a call that is refused for want of money was refused with less than a twentieth of the
//! budget really free, however many routers there are.

use crate::Amount;

/// Leases of an account together, as a share of its limit: one in so many.
const ALL_LEASES: i64 = 25;
/// One slice, as a share of what remains.
const ONE_SLICE: i64 = 100;
/// Within this share of the limit, one in so many, nothing is leased.
const LAST_PART: i64 = 20;

/// What a limited account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funds {
    /// Its limit.
    pub limit: Amount,
    /// Spent, set aside for calls, presumed and leased, together.
    pub used: Amount,
    /// The part of `used` that lies in leases.
    pub leased: Amount,
}

impl Funds {
    /// The most that another lease may have.
    fn room(self) -> i64 {
        let (limit, leased) = (self.limit.0, self.leased.0);
        let remaining = limit.saturating_sub(self.used.0);
        let before_the_last_part = remaining.saturating_sub(limit / LAST_PART);
        let of_all_leases = (limit / ALL_LEASES).saturating_sub(leased);
        (remaining / ONE_SLICE).min(before_the_last_part).min(of_all_leases)
    }
}

/// What is granted to a router that would like `wanted` and has no use for less than `least`, on a path with these limited accounts.
/// `None`: nothing, it has to ask for each call.
pub fn slice(least: Amount, wanted: Amount, limited: impl IntoIterator<Item = Funds>) -> Option<Amount> {
    let room = limited.into_iter().map(Funds::room).min().unwrap_or(i64::MAX);
    let granted = wanted.0.max(least.0).min(room);
    (granted > 0 && granted >= least.0).then_some(Amount(granted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_leased_near_the_limit_or_when_one_call_does_not_fit() {
        let funds = |limit, used, leased| {
            [Funds { limit: Amount(limit), used: Amount(used), leased: Amount(leased) }]
        };
        let ask = |funds| slice(Amount(5), Amount(50), funds).map(|slice| slice.0);
        assert_eq!(ask(funds(10_000, 0, 0)), Some(50));
        assert_eq!(ask(funds(1_000, 0, 0)), Some(10));
        assert_eq!(ask(funds(400, 0, 0)), None);
        assert_eq!(ask(funds(10_000, 9_500, 0)), None);
        assert_eq!(ask(funds(10_000, 5_000, 398)), None);
        assert_eq!(ask(funds(0, 0, 0)), None);
        assert_eq!(slice(Amount(5), Amount(50), []), Some(Amount(50)));
    }

    proptest! {
        #[test]
        fn leases_never_pass_a_limit_and_never_hold_a_twentieth_of_it(
            limit in 0_i64..1_000_000,
            asks in prop::collection::vec((1_i64..5_000, 0_i64..50_000), 1..200),
        ) {
            let mut leased = 0;
            for (least, wanted) in asks {
                let funds = Funds { limit: Amount(limit), used: Amount(leased), leased: Amount(leased) };
                if let Some(slice) = slice(Amount(least), Amount(wanted), [funds]) {
                    prop_assert!(slice.0 >= least);
                    leased += slice.0;
                }
                prop_assert!(leased <= limit / 25);
            }
        }
    }
}
