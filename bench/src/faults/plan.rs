//! Who dies when. A round follows from the run's seed and its number alone, so that a single one can be told again.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Of routers, and of ledgers.
pub const REPLICAS: usize = 2;
/// One round in so many has two deaths.
const PAIR_EVERY: u32 = 5;

/// Something that can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// The router of this number, from 0.
    Router(usize),
    /// The ledger of this number, from 0.
    Ledger(usize),
    /// PostgreSQL with all its processes.
    Database,
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Router(n) => write!(f, "router {}", n + 1),
            Self::Ledger(n) => write!(f, "ledger {}", n + 1),
            Self::Database => write!(f, "postgresql"),
        }
    }
}

/// One death and the return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Who.
    pub victim: Victim,
    /// From the start of the round.
    pub after: Duration,
    /// From the death to the start of the next process.
    pub down: Duration,
}

/// What happens between two rounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// One, or two of different victims.
    pub kills: Vec<Kill>,
    /// Load after everybody is back.
    pub rest: Duration,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Kill { victim, after, down }) in self.kills.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{victim} after {} ms for {} ms", after.as_millis(), down.as_millis())?;
        }
        Ok(())
    }
}

/// The round of this number.
#[must_use]
pub fn round(seed: u64, number: u32) -> Round {
    // seeds one apart must not give the same rounds one later
    let mut dice =
        StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number).rotate_left(32));
    let mut kills = vec![kill(&mut dice)];
    if dice.random_ratio(1, PAIR_EVERY) {
        let second = kill(&mut dice);
        if second.victim != kills[0].victim {
            kills.push(second);
        }
    }
    Round { kills, rest: millis(&mut dice, 0, 400) }
}

fn kill(dice: &mut StdRng) -> Kill {
    let replica = dice.random_range(0..REPLICAS);
    let victim = match dice.random_range(0..5) {
        0 | 1 => Victim::Router(replica),
        2 | 3 => Victim::Ledger(replica),
        _ => Victim::Database,
    };
    // mostly back at once, as under a supervisor; now and then long enough for queues to fill and retries to run out
    let down = if dice.random_ratio(1, 6) { millis(dice, 600, 2_500) } else { millis(dice, 0, 300) };
    Kill { victim, after: millis(dice, 0, 900), down }
}

fn millis(dice: &mut StdRng, least: u64, most: u64) -> Duration {
    Duration::from_millis(dice.random_range(least..=most))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_round_follows_from_seed_and_number_and_rounds_differ() {
        assert_eq!(round(7, 3), round(7, 3));
        let rounds: BTreeSet<String> = (0..50).map(|n| format!("{:?}", round(7, n))).collect();
        assert!(rounds.len() > 45, "{} of 50 differ", rounds.len());
        assert_ne!(round(7, 4), round(8, 3));
    }

    #[test]
    fn everybody_dies_in_fifty_rounds_and_nobody_twice_in_one() {
        let rounds: Vec<Round> = (0..50).map(|n| round(1, n)).collect();
        let dead: BTreeSet<Victim> = rounds.iter().flat_map(|r| &r.kills).map(|kill| kill.victim).collect();
        assert_eq!(dead.len(), 2 * REPLICAS + 1, "{dead:?}");
        assert!(rounds.iter().any(|round| round.kills.len() == 2));
        for Round { kills, .. } in rounds {
            assert!(kills.len() == 1 || kills[0].victim != kills[1].victim, "{kills:?}");
        }
    }
}
