//! Faults waiting for their requests.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::dice::Dice;
use super::{Fault, Injection};

/// Faults in the order in which they strike: the first one until it is used up, then the next. One with a rate lets the requests that
/// it spares through to those behind it.
#[derive(Debug)]
pub(in super::super) struct FaultQueue(Mutex<Pending>);

#[derive(Debug)]
struct Pending {
    injections: VecDeque<Injection>,
    dice: Dice,
}

impl FaultQueue {
    pub fn new(dice: Dice) -> Self {
        Self(Mutex::new(Pending { injections: VecDeque::new(), dice }))
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn replace(&self, injections: impl IntoIterator<Item = Injection>) {
        let injections = injections.into_iter().filter(|injection| injection.times != Some(0)).collect();
        self.pending().injections = injections;
    }

    pub fn all(&self) -> Vec<Injection> {
        self.pending().injections.iter().cloned().collect()
    }

    /// The fault for the request at hand. One that spoils vectors waits for a request that asks for some.
    pub fn take(&self, asks_for_vectors: bool) -> Option<Fault> {
        let mut pending = self.pending();
        let Pending { injections, dice } = &mut *pending;
        let mut at = 0;
        loop {
            let injection = injections.get_mut(at)?;
            let in_vain = injection.fault.spoils_vectors() && !asks_for_vectors;
            match injection.rate {
                None if in_vain => return None,
                Some(rate) if in_vain || dice.roll() >= rate => at += 1,
                _ => break,
            }
        }
        let injection = injections.get_mut(at)?;
        let fault = injection.fault.clone();
        if let Some(times) = &mut injection.times {
            *times -= 1;
            if *times == 0 {
                injections.remove(at);
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RetryAfter;
    use super::*;

    fn queue(injections: impl IntoIterator<Item = Injection>) -> FaultQueue {
        let queue = FaultQueue::new(Dice::new(1, "queue"));
        queue.replace(injections);
        queue
    }

    #[test]
    fn faults_strike_in_order_and_heal() {
        let queue = queue([Fault::Hang.times(0), Fault::status(500).times(2), Fault::WrongCount.times(1)]);
        assert_eq!(queue.take(true), Some(Fault::status(500)));
        assert_eq!(queue.take(false), Some(Fault::status(500)));
        assert_eq!(queue.take(false), None, "no vectors to spoil, so it waits");
        assert_eq!(queue.take(true), Some(Fault::WrongCount));
        assert_eq!(queue.take(true), None);
        queue.replace([Fault::Hang.forever()]);
        assert!((0..10).all(|_| queue.take(true) == Some(Fault::Hang)));
    }

    #[test]
    fn a_rate_strikes_its_share_and_the_spared_meet_the_next() {
        let injections =
            [Fault::status(500).at_rate(0.1), Fault::Hang.at_rate(0.5), Fault::WrongCount.forever()];
        let strikes = |queue: &FaultQueue| (0..10_000).map(|_| queue.take(true)).collect::<Vec<_>>();
        let struck = strikes(&queue(injections.clone()));
        let share = |fault: Fault| struck.iter().filter(|one| **one == Some(fault.clone())).count();
        assert!((900..1100).contains(&share(Fault::status(500))));
        assert!((4300..4700).contains(&share(Fault::Hang)));
        assert!((4300..4700).contains(&share(Fault::WrongCount)));
        assert_eq!(strikes(&queue(injections)), struck, "the same in every run");

        let twice = queue([Injection { times: Some(2), ..Fault::Hang.at_rate(0.5) }]);
        assert_eq!((0..100).filter(|_| twice.take(false).is_some()).count(), 2);
    }

    #[test]
    fn json_form_is_strict() {
        let parse = |json| serde_json::from_str::<Injection>(json);
        assert_eq!(
            parse(r#"{"fault":{"kind":"status","status":429,"retry_after":{"seconds":2}},"times":1}"#)
                .unwrap(),
            Fault::status(429).retry_after(RetryAfter::Seconds(2)).times(1)
        );
        assert_eq!(parse(r#"{"fault":{"kind":"hang"},"rate":0.1}"#).unwrap(), Fault::Hang.at_rate(0.1));
        assert!(parse(r#"{"fault":{"kind":"hang"},"time":1}"#).is_err());
        assert!(parse(r#"{"fault":{"kind":"status","status":429,"retry_after_s":2}}"#).is_err());
    }
}
