//! What is spent and set aside in a period.

use embermesh_types::{AgentId, NanoUsd};
use jiff::civil::Date;

use super::period::Period;

/// Names a balance of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BalanceKey {
    pub(crate) agent: AgentId,
    pub(crate) period: Period,
    pub(crate) start: Date,
}

impl BalanceKey {
    /// Both balances that an attempt of `day` counts in.
    pub(crate) fn both(agent: &AgentId, day: Date) -> [Self; 2] {
        Period::BOTH.map(|period| Self { agent: agent.clone(), period, start: period.start(day) })
    }
}

/// A balance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) spent: NanoUsd,
    pub(crate) reserved: NanoUsd,
}

impl Balance {
    /// Whether `amount` more stays within `limit`.
    pub(crate) fn has_room(&self, amount: NanoUsd, limit: NanoUsd) -> bool {
        let used = self.spent.checked_add(self.reserved).and_then(|used| used.checked_add(amount));
        used.is_some_and(|used| used <= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ends_exactly_at_the_limit_and_survives_overflow() {
        let balance = Balance { spent: NanoUsd(5), reserved: NanoUsd(3) };
        assert!(balance.has_room(NanoUsd(2), NanoUsd(10)));
        assert!(!balance.has_room(NanoUsd(3), NanoUsd(10)));
        assert!(!balance.has_room(NanoUsd(i64::MAX), NanoUsd(i64::MAX)));
    }
}
