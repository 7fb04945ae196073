//! What one router keeps to by itself while there are no leases: its part of the rate.

use std::time::{Duration, Instant};

use embermesh_resilience::{Gcra, Rate};

use super::{Burst, window::Window};

/// A part of a rate.
#[derive(Debug)]
pub(super) enum Alone {
    Gcra { limit: Gcra, burst: u64 },
    Window(Window),
}

impl Alone {
    /// The part of one of `replicas`.
    pub(super) fn new(per_minute: u64, burst: Burst, replicas: u32) -> Self {
        match burst {
            Burst::Tenth => {
                let share = Rate::per_minute(per_minute).share(replicas);
                Self::Gcra { limit: Gcra::new(share), burst: share.burst }
            }
            Burst::All => Self::Window(Window::new((per_minute / u64::from(replicas.max(1))).max(1))),
        }
    }

    pub(super) fn take(&self, now: Instant, n: u64) -> Result<(), Duration> {
        match self {
            Self::Gcra { limit, .. } => limit.take(now, n),
            Self::Window(window) => window.take(now, n),
        }
    }

    pub(super) fn wait_for(&self, now: Instant, n: u64) -> Duration {
        match self {
            Self::Gcra { limit, .. } => limit.wait_for(now, n),
            Self::Window(window) => window.wait_for(now, n),
        }
    }

    pub(super) fn give_back(&self, n: u64) {
        match self {
            Self::Gcra { limit, .. } => limit.give_back(n),
            Self::Window(window) => window.give_back(n),
        }
    }

    /// Hears of what was taken from a lease; a window goes on from there.
    pub(super) fn taken_elsewhere(&self, now: Instant, n: u64) {
        if let Self::Window(window) = self {
            window.note(now, n);
        }
    }

    /// Hears of what was given back to a lease.
    pub(super) fn given_back_elsewhere(&self, n: u64) {
        if let Self::Window(window) = self {
            window.give_back(n);
        }
    }

    /// Begins after leases: the burst was there to take from the shared rate already.
    pub(super) fn begin(&self, now: Instant) {
        if let Self::Gcra { limit, burst } = self {
            // taken by somebody else meanwhile is as good
            let _taken = limit.take(now, *burst);
        }
    }
}
