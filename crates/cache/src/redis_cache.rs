//! The handle that everybody holds, and the one way to ask Redis: connected, not resting, and the outcome counted.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use embermesh_lifecycle::Tasks;
use fred::{
    clients::{Client, WithOptions},
    interfaces::ClientLike as _,
    types::config::Options,
};

use crate::{
    Away, RedisSettings, SettingsError,
    breaker::Breaker,
    connection::{self, Link},
    lease::Scripts,
};

/// Redis, or its absence. Cheap to clone.
#[derive(Clone)]
pub struct RedisCache(Arc<Inner>);

struct Inner {
    link: Arc<OnceLock<Link>>,
    breaker: Breaker,
    command_timeout: Duration,
    scripts: Scripts,
}

impl RedisCache {
    /// Begins to connect, in a task of `tasks` that goes on for ever: Redis may be away now and for hours.
    ///
    /// # Errors
    /// [`SettingsError`], when the settings say nothing usable.
    pub fn connect(settings: &RedisSettings, tasks: &Tasks) -> Result<Self, SettingsError> {
        Ok(Self(Arc::new(Inner {
            link: connection::open(settings, tasks)?,
            breaker: Breaker::new(settings.failures, settings.rest, Instant::now()),
            command_timeout: settings.command_timeout,
            scripts: Scripts::default(),
        })))
    }

    /// The link, when it makes sense to ask through the client of it that `which` names. The outcome belongs to
    /// [`RedisCache::report`].
    pub(crate) fn admit(&self, which: fn(&Link) -> &Client) -> Result<&Link, Away> {
        let link = self.0.link.get().filter(|link| connection::is_connected(which(link)));
        let link = link.ok_or(Away::NotConnected)?;
        if self.0.breaker.admit(Instant::now()) { Ok(link) } else { Err(Away::Resting) }
    }

    /// Counts the outcome and hands it on.
    pub(crate) fn report<T>(&self, outcome: Result<T, Away>) -> Result<T, Away> {
        match &outcome {
            Ok(_) => self.0.breaker.succeeded(),
            Err(away) if away.was_asked() => self.0.breaker.failed(Instant::now()),
            Err(_) => {}
        }
        outcome
    }

    /// A client for one call that may take `times` the usual time.
    pub(crate) fn limited(&self, client: &Client, times: u32) -> WithOptions<Client> {
        client.with_options(&Options {
            timeout: Some(self.0.command_timeout * times),
            max_attempts: Some(1),
            fail_fast: true,
            ..Options::default()
        })
    }

    pub(crate) fn link(&self) -> Option<&Link> {
        self.0.link.get()
    }

    pub(crate) fn command_timeout(&self) -> Duration {
        self.0.command_timeout
    }

    pub(crate) fn scripts(&self) -> &Scripts {
        &self.0.scripts
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisCache")
    }
}
