//! How many calls a service takes at a time, found by asking: halved when it throttles, one more after a round that worked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit of calls in flight that moves between 1 and its maximum. Waiters are served in order.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    max: u32,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: u32,
    /// Slots above the limit that calls still hold, to be taken out of use as they end.
    surplus: u32,
    /// Successes since the limit last changed.
    successes: u32,
    /// Calls that were out when the limit was halved: their throttles tell nothing new.
    stale: u32,
}

/// Leave for one call; gives its place back when dropped.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct Slot {
    of: Arc<ConcurrencyLimit>,
    permit: Option<OwnedSemaphorePermit>,
}

impl ConcurrencyLimit {
    /// Starts at `max`, at least 1.
    #[must_use]
    pub fn new(max: u32) -> Self {
        let max = max.clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let state = State { limit: max, surplus: 0, successes: 0, stale: 0 };
        Self { max, slots: Arc::new(Semaphore::new(max as usize)), state: Mutex::new(state) }
    }

    /// A slot, if one is free and nobody waits for it.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Slot> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(Slot { of: Arc::clone(self), permit: Some(permit) })
    }

    /// A slot, when it is this caller's turn. Dropping the future gives the turn to the next.
    pub async fn acquire(self: &Arc<Self>) -> Slot {
        // an error would mean a closed semaphore, which nothing here closes
        let permit = Arc::clone(&self.slots).acquire_owned().await.ok();
        Slot { of: Arc::clone(self), permit }
    }

    /// The service has throttled a call, whose slot is still held: halves the limit, once for all the calls that are out.
    pub fn throttled(&self) {
        let mut state = self.lock();
        if state.stale > 0 {
            return;
        }
        state.stale = self.out(&state);
        let less = (state.limit / 2).max(1);
        let excess = state.limit - less;
        let idle = self.slots.forget_permits(excess as usize);
        state.surplus += excess.saturating_sub(u32::try_from(idle).unwrap_or(excess));
        state.limit = less;
        state.successes = 0;
    }

    /// A call has worked: one more slot when a limit's worth of them have.
    pub fn succeeded(&self) {
        let mut state = self.lock();
        state.successes = state.successes.saturating_add(1);
        if state.successes < state.limit {
            return;
        }
        state.successes = 0;
        if state.limit == self.max {
            return;
        }
        state.limit += 1;
        if state.surplus > 0 {
            state.surplus -= 1;
        } else {
            self.slots.add_permits(1);
        }
    }

    /// Calls at a time, now.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.lock().limit
    }

    /// Slots held, or about to be by a waiter whose turn has come.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.out(&self.lock())
    }

    fn out(&self, state: &State) -> u32 {
        let idle = u32::try_from(self.slots.available_permits()).unwrap_or(u32::MAX);
        (state.limit + state.surplus).saturating_sub(idle)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let surplus = {
            let mut state = self.of.lock();
            state.stale = state.stale.saturating_sub(1);
            let surplus = state.surplus > 0;
            state.surplus = state.surplus.saturating_sub(1);
            surplus
        };
        if surplus {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn held(limit: &Arc<ConcurrencyLimit>) -> Vec<Slot> {
        std::iter::from_fn(|| limit.try_acquire()).collect()
    }

    #[test]
    fn never_more_slots_than_the_limit() {
        let limit = Arc::new(ConcurrencyLimit::new(8));
        let slots = held(&limit);
        assert_eq!((slots.len(), limit.in_flight()), (8, 8));
        drop(slots);
        assert_eq!(limit.in_flight(), 0);
    }

    #[test]
    fn a_throttle_halves_and_never_below_one() {
        let limit = Arc::new(ConcurrencyLimit::new(8));
        let limits: Vec<u32> = (0..5)
            .map(|_| {
                limit.throttled();
                limit.limit()
            })
            .collect();
        assert_eq!(limits, [4, 2, 1, 1, 1]);
        assert_eq!(held(&limit).len(), 1);
    }

    #[test]
    fn throttles_of_calls_that_were_out_together_halve_once() {
        let limit = Arc::new(ConcurrencyLimit::new(64));
        for slot in held(&limit) {
            limit.throttled();
            drop(slot);
        }
        assert_eq!((limit.limit(), limit.in_flight()), (32, 0));
        assert_eq!(held(&limit).len(), 32);
        let next = limit.try_acquire();
        limit.throttled();
        drop(next);
        assert_eq!(limit.limit(), 16, "a later call's throttle counts again");
    }

    #[test]
    fn slots_held_above_a_lowered_limit_are_not_given_out_again() {
        let limit = Arc::new(ConcurrencyLimit::new(8));
        let mut slots = held(&limit);
        limit.throttled();
        assert_eq!((limit.limit(), limit.in_flight()), (4, 8));
        for left in (4..8).rev() {
            slots.pop();
            assert_eq!(limit.in_flight(), left);
            assert!(limit.try_acquire().is_none());
        }
        slots.pop();
        assert!(limit.try_acquire().is_some());
    }

    #[test]
    fn it_grows_by_one_for_a_limits_worth_of_successes_up_to_the_maximum() {
        let limit = Arc::new(ConcurrencyLimit::new(4));
        limit.throttled();
        let after = |successes| {
            (0..successes).for_each(|_| limit.succeeded());
            limit.limit()
        };
        assert_eq!([after(1), after(1), after(2), after(1), after(100)], [2, 3, 3, 4, 4]);
        assert_eq!(held(&limit).len(), 4);
    }

    #[test]
    fn a_throttle_starts_the_count_of_successes_anew() {
        let limit = Arc::new(ConcurrencyLimit::new(8));
        limit.throttled();
        (0..3).for_each(|_| limit.succeeded());
        limit.throttled();
        limit.succeeded();
        assert_eq!(limit.limit(), 2);
    }

    #[test]
    fn growing_while_slots_above_the_limit_are_held_keeps_the_count() {
        let limit = Arc::new(ConcurrencyLimit::new(8));
        let slots = held(&limit);
        limit.throttled();
        (0..4).for_each(|_| limit.succeeded());
        assert_eq!((limit.limit(), limit.in_flight()), (5, 8));
        drop(slots);
        assert_eq!(held(&limit).len(), 5);
    }

    #[test]
    fn a_waiter_is_woken_by_a_slot_and_by_growth() {
        let limit = Arc::new(ConcurrencyLimit::new(2));
        limit.throttled();
        let first = limit.try_acquire().unwrap();
        let mut waiting = Box::pin(limit.acquire());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        let second = waiting.now_or_never().unwrap();
        let mut waiting = Box::pin(limit.acquire());
        assert!(waiting.as_mut().now_or_never().is_none());
        limit.succeeded();
        assert!(waiting.now_or_never().is_some());
        drop(second);
    }

    #[test]
    fn a_cancelled_waiter_loses_no_slot() {
        let limit = Arc::new(ConcurrencyLimit::new(1));
        let held = limit.try_acquire().unwrap();
        let mut early = Box::pin(limit.acquire());
        let mut late = Box::pin(limit.acquire());
        assert!(early.as_mut().now_or_never().is_none() && late.as_mut().now_or_never().is_none());
        // the turn goes to `early`, which leaves before it looks
        drop(held);
        drop(early);
        assert!(late.now_or_never().is_some());
        assert_eq!(limit.in_flight(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_storm_of_calls_throttles_and_cancellations_loses_no_slot() {
        let limit = Arc::new(ConcurrencyLimit::new(16));
        let calls = (0..400_u32).map(|n| {
            let limit = Arc::clone(&limit);
            async move {
                let slot =
                    if n % 7 == 0 { limit.acquire().now_or_never() } else { Some(limit.acquire().await) };
                tokio::task::yield_now().await;
                match n % 11 {
                    0 => limit.throttled(),
                    _ => limit.succeeded(),
                }
                drop(slot);
            }
        });
        let mut set = tokio::task::JoinSet::new();
        calls.for_each(|call| drop(set.spawn(call)));
        set.join_all().await;
        assert_eq!((limit.in_flight(), held(&limit).len()), (0, limit.limit() as usize));
    }
}
