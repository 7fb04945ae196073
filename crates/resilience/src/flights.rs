//! Single flight: of all who want the same thing at the same time, the first fetches it and the rest wait for that.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use foldhash::fast::RandomState;
use futures::channel::oneshot;
use futures::future::{FutureExt as _, Shared};

type Landing<V> = Shared<oneshot::Receiver<V>>;
type InTheAir<K, V> = HashMap<K, Landing<V>, RandomState>;
type Airborne<K, V> = Mutex<InTheAir<K, V>>;

/// The things that are being fetched. Clones share one set.
pub struct Flights<K, V>(Arc<Airborne<K, V>>);

/// A place on a flight.
#[derive(Debug)]
pub struct Joined<K: Hash + Eq, V> {
    /// Present for whoever is first: this is the one to fetch the value.
    pub lead: Option<Lead<K, V>>,
    /// Where the value arrives, for the first and for everyone after.
    pub flight: Flight<V>,
}

/// The duty to fetch the value. Dropped without landing, every [`Flight`] of it resolves to nothing, and the next to join leads.
#[must_use = "without a landing nobody gets a value"]
pub struct Lead<K: Hash + Eq, V> {
    of: Arc<Airborne<K, V>>,
    key: K,
    landing: Option<oneshot::Sender<V>>,
    /// Only to count who else holds one.
    place: Landing<V>,
}

/// Resolves to the value, or to nothing when the lead gave up. Dropping it, at any time, disturbs nobody else.
#[must_use = "futures do nothing unless polled"]
pub struct Flight<V>(Landing<V>);

impl<K: Hash + Eq + Clone, V: Clone> Flights<K, V> {
    /// Nothing in the air.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Joins the flight for `key`, or starts it.
    pub fn join(&self, key: K) -> Joined<K, V> {
        let mut airborne = lock(&self.0);
        if let Some(landing) = airborne.get(&key) {
            return Joined { lead: None, flight: Flight(landing.clone()) };
        }
        let (sender, receiver) = oneshot::channel();
        let landing = receiver.shared();
        airborne.insert(key.clone(), landing.clone());
        let (of, place) = (Arc::clone(&self.0), landing.clone());
        let lead = Lead { of, key, landing: Some(sender), place };
        Joined { lead: Some(lead), flight: Flight(landing) }
    }

    /// Flights in the air.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Whether nothing is in the air.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Hash + Eq, V> Lead<K, V> {
    /// Hands the value to everyone who waits. Whoever joins from now on starts a new flight.
    pub fn land(mut self, value: V) {
        self.leave();
        if let Some(landing) = self.landing.take() {
            // nobody may be waiting any more
            drop(landing.send(value));
        }
    }

    /// Whether anyone still waits: when not, the fetching may stop.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        // one is the set's own, and one this one's
        self.place.strong_count().is_some_and(|holders| holders > 2)
    }

    fn leave(&self) {
        let landed = lock(&self.of).remove(&self.key);
        // outside of the lock: it may be the last, and drop a value
        drop(landed);
    }
}

impl<K: Hash + Eq, V> Drop for Lead<K, V> {
    fn drop(&mut self) {
        if self.landing.is_some() {
            self.leave();
        }
    }
}

impl<V: Clone> Future for Flight<V> {
    type Output = Option<V>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(context).map(Result::ok)
    }
}

fn lock<K, V>(airborne: &Airborne<K, V>) -> MutexGuard<'_, InTheAir<K, V>> {
    airborne.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Arc::new(Mutex::default()))
    }
}

impl<K, V> Clone for Flights<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

impl<K: Hash + Eq, V> fmt::Debug for Lead<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead").finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for Flight<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thousand_who_join_at_once_have_one_lead_and_one_value() {
        let flights: Flights<&str, usize> = Flights::new();
        let mut set = tokio::task::JoinSet::new();
        let gate = Arc::new(tokio::sync::Barrier::new(1_000));
        for n in 0..1_000 {
            let (flights, gate) = (flights.clone(), Arc::clone(&gate));
            set.spawn(async move {
                let joined = flights.join("text");
                let leads = joined.lead.is_some();
                // all have joined before the one lands
                gate.wait().await;
                if let Some(lead) = joined.lead {
                    lead.land(n);
                }
                (leads.then_some(n), joined.flight.await)
            });
        }
        let all = set.join_all().await;
        let leads: Vec<usize> = all.iter().filter_map(|(lead, _)| *lead).collect();
        assert_eq!(leads.len(), 1);
        assert!(all.iter().all(|(_, value)| *value == Some(leads[0])));
        assert!(flights.is_empty());
    }

    #[test]
    fn without_a_landing_everyone_gets_nothing_and_the_next_leads() {
        let flights: Flights<u8, u8> = Flights::new();
        let (first, second) = (flights.join(1), flights.join(1));
        assert!(second.lead.is_none());
        drop(first.lead);
        assert_eq!(first.flight.now_or_never(), Some(None));
        assert_eq!(second.flight.now_or_never(), Some(None));
        assert!(flights.join(1).lead.is_some());
    }

    #[test]
    fn whoever_joins_after_the_landing_starts_a_new_flight() {
        let flights: Flights<u8, u8> = Flights::new();
        let first = flights.join(1);
        first.lead.unwrap().land(7);
        let mut second = flights.join(1);
        assert!(second.lead.is_some());
        assert_eq!(first.flight.now_or_never(), Some(Some(7)), "landed already");
        assert_eq!((&mut second.flight).now_or_never(), None);
        drop(second.lead);
        assert_eq!(second.flight.now_or_never(), Some(None));
    }

    #[test]
    fn one_who_leaves_takes_nobody_along() {
        let flights: Flights<u8, u8> = Flights::new();
        let first = flights.join(1);
        let (mut second, third) = (flights.join(1).flight, flights.join(1).flight);
        assert_eq!((&mut second).now_or_never(), None);
        drop(second);
        first.lead.unwrap().land(7);
        assert_eq!(third.now_or_never(), Some(Some(7)));
    }

    #[test]
    fn the_lead_knows_whether_anyone_waits() {
        let flights: Flights<u8, u8> = Flights::new();
        let first = flights.join(1);
        let lead = first.lead.unwrap();
        let second = flights.join(1).flight;
        drop(first.flight);
        assert!(lead.is_awaited());
        drop(second);
        assert!(!lead.is_awaited());
        let again = flights.join(1);
        assert!(again.lead.is_none() && lead.is_awaited(), "a late one still finds the flight");
        lead.land(3);
        assert_eq!(again.flight.now_or_never(), Some(Some(3)));
    }

    #[test]
    fn keys_do_not_share_flights() {
        let flights: Flights<u8, u8> = Flights::new();
        let (one, two) = (flights.join(1), flights.join(2));
        assert_eq!(flights.len(), 2);
        one.lead.unwrap().land(1);
        two.lead.unwrap().land(2);
        assert_eq!((one.flight.now_or_never(), two.flight.now_or_never()), (Some(Some(1)), Some(Some(2))));
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_a_lead_that_panicked() {
        let flights: Flights<u8, u8> = Flights::new();
        let joined = flights.join(1);
        let lead = joined.lead;
        let task = tokio::task::JoinSet::from_iter([async move {
            let _lead = lead;
            panic!("on purpose")
        }]);
        assert_eq!(joined.flight.await, None);
        drop(task);
    }
}
