//! Whether a credential is worth a call: refused twice in a row or out of quota, it is left alone for a while.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Refusals in a row after which it is taken for dead.
const REFUSALS: u32 = 2;
/// How long it is left alone.
const REST: Duration = Duration::from_secs(600);

/// The state of one credential.
#[derive(Debug, Default)]
pub(crate) struct Credential(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    refusals: u32,
    out: Option<(Instant, &'static str)>,
}

impl Credential {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when it rests, and why.
    pub fn out(&self, now: Instant) -> Option<(Instant, &'static str)> {
        self.inner().out.filter(|(until, _)| *until > now)
    }

    /// It was accepted.
    pub fn accepted(&self) {
        let mut inner = self.inner();
        if inner.refusals > 0 || inner.out.is_some() {
            *inner = Inner::default();
        }
    }

    /// It was refused; `true`: it has just been taken out.
    pub fn refused(&self, now: Instant) -> bool {
        let mut inner = self.inner();
        inner.refusals = inner.refusals.saturating_add(1);
        if inner.refusals < REFUSALS {
            return false;
        }
        inner.out = Some((now + REST, "its credential is refused"));
        true
    }

    /// Its quota or credit is used up; paying calls do not come back by being repeated.
    pub fn exhausted(&self, now: Instant) {
        self.inner().out = Some((now + REST, "its quota or credit is used up"));
    }

    /// Forgets everything.
    pub fn reset(&self) {
        *self.inner() = Inner::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_is_forgiven_two_in_a_row_are_not() {
        let (credential, now) = (Credential::default(), Instant::now());
        assert!(!credential.refused(now));
        credential.accepted();
        assert!(!credential.refused(now) && credential.out(now).is_none());
        assert!(credential.refused(now) && credential.out(now).is_some());
        assert!(credential.out(now + REST).is_none(), "it gets another chance");
        credential.reset();
        assert!(credential.out(now).is_none());
    }
}
