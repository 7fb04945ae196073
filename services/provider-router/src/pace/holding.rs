//! What a process holds of a shared rate, and what it knows of the rest.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::usage::Usage;

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Holding {
    pub(super) held: VecDeque<Held>,
    pub(super) standing: Standing,
    /// A question is under way.
    pub(super) asking: bool,
    pub(super) wanted: Option<Wanted>,
    pub(super) usage: Usage,
    pub(super) granted: Option<Instant>,
    /// Used since the rate is kept alone: the shared one is told when it is back, or it would be there twice.
    pub(super) alone_used: u64,
}

/// The rest of a lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) n: u64,
    pub(super) until: Instant,
}

/// The largest call that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) n: u64,
    pub(super) until: Instant,
}

/// How things stand with leases.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Standing {
    /// Leases can be had.
    #[default]
    Shared,
    /// They were refused: `n` will be there at `at`.
    Refused { n: u64, at: Instant },
    /// They cannot be had; asked for again at `again`, after `pause`.
    Alone { again: Instant, pause: Duration },
}

/// What was taken; it counts as used unless it is given back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) n: u64,
    /// Absent: not from a lease.
    pub(super) until: Option<Instant>,
}

impl Holding {
    /// Leaves out what is no longer so.
    pub(super) fn forget(&mut self, now: Instant) {
        self.held.retain(|held| held.until > now);
        self.wanted = self.wanted.filter(|wanted| wanted.until > now);
    }

    pub(super) fn held(&self) -> u64 {
        self.held.iter().map(|held| held.n).sum()
    }

    /// Takes `n` of what is held, oldest first.
    pub(super) fn take(&mut self, n: u64) -> Option<Taken> {
        if self.held() < n {
            return None;
        }
        let (mut missing, mut until) = (n, None);
        while missing > 0
            && let Some(first) = self.held.front_mut()
        {
            let some = first.n.min(missing);
            first.n -= some;
            missing -= some;
            until = until.or(Some(first.until));
            if first.n == 0 {
                self.held.pop_front();
            }
        }
        Some(Taken { n, until })
    }

    /// What a lease should hold: what a quarter of a second used.
    pub(super) fn target(&mut self, now: Instant) -> u64 {
        self.usage.per_second(now) / 4
    }

    /// Whether to ask ahead: only where what is asked for will be used before it lapses.
    pub(super) fn is_low(&mut self, now: Instant) -> bool {
        let target = self.target(now);
        target >= 2 && self.held() < target / 2
    }
}
