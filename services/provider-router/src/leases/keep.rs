//! Looks after the leases: has them asked for, and gives back what is idle, of yesterday or of other limits.

use std::{sync::Arc, time::Duration};

use embermesh_lifecycle::Tasks;
use tokio::time::{MissedTickBehavior, interval};

use super::{Asks, Leases, ask::ask};

/// How often to look.
const EVERY: Duration = Duration::from_millis(500);

/// Runs until the process stops.
pub(crate) async fn keep(leases: Arc<Leases>, mut asks: Asks, tasks: Tasks) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = leases.subscription.changes();
    // the subscription may end before the process
    let mut following = true;
    loop {
        tokio::select! {
            Some(purse) = asks.recv() => {
                tasks.spawn("lease", ask(Arc::clone(&leases), purse, tasks.clone()));
            }
            () = leases.returns.notified() => leases.sweep(),
            _ = ticks.tick() => leases.look_after(),
            changed = changes.changed(), if following => {
                following = changed.is_ok();
                leases.heed();
            }
            () = tasks.stopping() => return,
        }
    }
}

impl Leases {
    fn look_after(&self) {
        let (now, millis) = (self.clock.now(), self.millis());
        let (mut held, mut forgotten) = (0, false);
        for purse in self.all() {
            purse.measure(millis);
            if purse.is_idle(millis) {
                self.give_back(&purse);
            } else {
                self.close(purse.take_if(|lease| lease.is_past(now)));
            }
            held += purse.held();
            forgotten |= purse.is_forgotten(millis);
        }
        self.held.set(i64::try_from(held).unwrap_or(i64::MAX));
        if forgotten {
            self.purses.forget(millis);
            self.quotas.forget(millis);
        }
    }

    /// Gives back what was leased under other limits.
    fn heed(&self) {
        let Some(snapshot) = self.subscription.known() else { return };
        for purse in self.all() {
            if purse.heed(&snapshot).0 {
                self.give_back(&purse);
            }
        }
    }
}
