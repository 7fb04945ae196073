//! Connections that wait for the next call to the same place.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use http::uri::{Authority, Scheme};
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, sleep};

use super::connection::Connection;

/// Below the 60 s of AWS load balancers, the shortest of the large providers' own.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// Idle connections kept to one host.
const MAX_IDLE: usize = 128;

/// Where a connection leads.
pub(super) type Place = (Scheme, Authority);

/// Idle connections by place.
#[derive(Default)]
pub(super) struct Pool(Mutex<Shelves>);

#[derive(Default)]
struct Shelves {
    /// Of each place the longest idle first. There are few places, and to compare one takes less than to hash it.
    idle: Vec<(Place, Vec<Idle>)>,
    /// A task will let go of those that nobody uses.
    watched: bool,
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

impl Idle {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < IDLE_TIMEOUT
    }
}

impl Pool {
    /// The connection to `place` that was used last.
    pub fn take(&self, place: &Place) -> Option<Box<Connection>> {
        let mut shelves = self.shelves();
        let (_, idle) = shelves.idle.iter_mut().find(|(of, _)| of == place)?;
        let last = idle.pop()?;
        last.is_fresh().then_some(last.connection)
    }

    /// Keeps a connection for the next call.
    pub fn put(self: &Arc<Self>, place: Place, connection: Box<Connection>) {
        let mut shelves = self.shelves();
        let idle = Idle { connection, since: Instant::now() };
        match shelves.idle.iter_mut().find(|(of, _)| *of == place) {
            Some((_, others)) if others.len() >= MAX_IDLE => {}
            Some((_, others)) => others.push(idle),
            None => shelves.idle.push((place, vec![idle])),
        }
        if !std::mem::replace(&mut shelves.watched, true) {
            TokioExecutor::new().execute(watch(Arc::downgrade(self)));
        }
    }

    /// Lets go of what has been idle for too long. Whether anything is left.
    fn sweep(&self) -> bool {
        let mut shelves = self.shelves();
        shelves.idle.retain_mut(|(_, idle)| {
            idle.retain(Idle::is_fresh);
            !idle.is_empty()
        });
        shelves.watched = !shelves.idle.is_empty();
        shelves.watched
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until nothing is idle, or nobody needs the pool any more.
async fn watch(pool: Weak<Pool>) {
    loop {
        sleep(IDLE_TIMEOUT).await;
        if !pool.upgrade().is_some_and(|pool| pool.sweep()) {
            return;
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}
