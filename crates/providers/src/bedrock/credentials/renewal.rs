//! When credentials are fetched: first when a call needs some, then ahead of their end, by one caller at a time.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{self, error::CredentialsError},
};
use embermesh_types::Clock;

use super::Causes;

/// Renewed this long before their end, or a quarter of their life when that is less.
const AHEAD: Duration = Duration::from_secs(300);
/// Those without an end are looked up again after this: a file may have changed.
const ENDLESS: Duration = Duration::from_secs(900);
/// After a failure the source is left alone for this.
const REST: Duration = Duration::from_secs(2);
/// How long a call that has good ones waits for newer ones.
const PATIENCE: Duration = Duration::from_secs(2);
/// Distrusted ones that are younger than this are kept: it is not their age that AWS refuses.
const YOUNG: Duration = Duration::from_secs(30);

/// Credentials, as long as they are good.
#[derive(Debug)]
pub(super) struct Renewal {
    clock: Clock,
    held: Mutex<Option<Held>>,
    /// Who holds it is the one who fetches. Until when the source is left alone.
    rests_until: tokio::sync::Mutex<SystemTime>,
}

#[derive(Debug, Clone)]
struct Held {
    credentials: Credentials,
    fetched: SystemTime,
    renew: SystemTime,
}

impl Renewal {
    pub fn new(clock: Clock) -> Self {
        Self { clock, held: Mutex::default(), rests_until: tokio::sync::Mutex::new(SystemTime::UNIX_EPOCH) }
    }

    /// Credentials that are good now, fetched if need be.
    pub async fn current<F>(&self, fetch: impl FnOnce() -> F) -> provider::Result
    where
        F: Future<Output = provider::Result>,
    {
        let now = self.clock.now();
        match self.good(now) {
            Some(held) if now < held.renew => Ok(held.credentials),
            Some(held) => {
                let Ok(mut rests_until) = self.rests_until.try_lock() else { return Ok(held.credentials) };
                if now < *rests_until {
                    return Ok(held.credentials);
                }
                // also for the next caller when this one is dropped meanwhile
                *rests_until = now + REST;
                let fetched = tokio::time::timeout(PATIENCE, fetch()).await;
                let fetched = fetched.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(PATIENCE)));
                Ok(self.take(fetched, &mut rests_until).unwrap_or(held.credentials))
            }
            None => {
                let mut rests_until = self.rests_until.lock().await;
                let now = self.clock.now();
                if let Some(held) = self.good(now) {
                    return Ok(held.credentials);
                }
                if now < *rests_until {
                    return Err(CredentialsError::not_loaded("the source of credentials has just failed"));
                }
                self.take(fetch().await, &mut rests_until)
            }
        }
    }

    /// AWS refused what is held: it is fetched anew at the next need, and serves until that has worked.
    pub fn distrust(&self) {
        let now = self.clock.now();
        if let Some(held) = self.held().as_mut()
            && now >= held.fetched + YOUNG
        {
            held.renew = now;
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn good(&self, now: SystemTime) -> Option<Held> {
        self.held().clone().filter(|held| held.credentials.expiry().is_none_or(|end| now < end))
    }

    fn take(&self, fetched: provider::Result, rests_until: &mut SystemTime) -> provider::Result {
        let now = self.clock.now();
        match &fetched {
            Ok(credentials) => {
                let (credentials, renew) = (credentials.clone(), renewal_of(credentials, now));
                *self.held() = Some(Held { credentials, fetched: now, renew });
            }
            Err(error) => {
                tracing::warn!(cause = %Causes(error), "cannot fetch AWS credentials");
                *rests_until = now + REST;
            }
        }
        fetched
    }
}

fn renewal_of(credentials: &Credentials, now: SystemTime) -> SystemTime {
    credentials.expiry().map_or(now + ENDLESS, |end| {
        let life = end.duration_since(now).unwrap_or_default();
        end - AHEAD.min(life / 4)
    })
}

#[cfg(test)]
mod tests;
