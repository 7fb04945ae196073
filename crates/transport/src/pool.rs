//! A connection to every address of a service, and the choice among them: the live one with the fewest calls under way, those last that
//! leave calls without an answer. A request that has not left yet moves on to another connection; one that has left is never sent twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use embermesh_errors::Error;
use futures::future::BoxFuture;
use http::uri::{Authority, PathAndQuery, Scheme};
use http_body_util::BodyExt;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tonic::{Status, body::Body};
use tower::Service;

use crate::{
    Request, Response,
    connection::{CONNECT_TIMEOUT, Dialer, Sender},
    silence::Silence,
};

/// Pauses between attempts to reach an address that is down. A call that finds nothing live cuts the longer ones short.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that ends sooner counts as a failed attempt: the server refuses us, or a proxy has nothing behind it.
const STEADY: Duration = Duration::from_secs(1);
/// How long a call that finds nothing live waits for the attempts that it prompts: a part that is back serves it, and an outage is told
/// before anybody would call it slow.
const PROMPTED: Duration = Duration::from_millis(250);
/// Connections that one request may find closed before it has left.
const ATTEMPTS: usize = 3;

/// The addresses of a service, and the side of the pool that changes them.
#[derive(Clone)]
pub(crate) struct Registry {
    peers: watch::Sender<Peers>,
    wanted: Arc<Notify>,
}

/// The side of the pool that calls.
#[derive(Clone)]
pub(crate) struct Pool {
    peers: watch::Receiver<Peers>,
    wanted: Arc<Notify>,
    turn: Arc<AtomicUsize>,
    scheme: Scheme,
    authority: Option<Authority>,
}

#[derive(Default)]
struct Peers {
    /// Whether a name has been looked up at all.
    resolved: bool,
    /// Tells a new entry of an address from an older one of the same.
    next_id: u64,
    by_address: BTreeMap<SocketAddr, (u64, State)>,
}

enum State {
    Connecting,
    Live(Live),
    Down,
}

#[derive(Clone)]
struct Live {
    sender: Sender,
    /// One clone for each call under way.
    calls: Arc<Silence>,
}

enum Choice {
    Use(Live),
    Wait,
    Nobody,
}

/// A pool without addresses. Both sides end when the last [`Pool`] is dropped.
pub(crate) fn new(url: &http::Uri) -> (Pool, Registry) {
    let (sender, receiver) = watch::channel(Peers::default());
    let wanted = Arc::new(Notify::new());
    let pool = Pool {
        peers: receiver,
        wanted: Arc::clone(&wanted),
        // not always with the first address: whoever connects anew may be getting away from it
        turn: Arc::new(AtomicUsize::new(rand::random_range(0..1 << 16))),
        scheme: url.scheme().cloned().unwrap_or(Scheme::HTTP),
        authority: url.authority().cloned(),
    };
    (pool, Registry { peers: sender, wanted })
}

impl Peers {
    fn choose(&self, turn: usize) -> Choice {
        let mut live: Vec<&Live> = Vec::with_capacity(self.by_address.len());
        let mut hope = !self.resolved;
        for (_, state) in self.by_address.values() {
            match state {
                State::Live(peer) if !peer.sender.is_closed() => live.push(peer),
                // a closed one is about to be replaced
                State::Live(_) | State::Connecting => hope = true,
                State::Down => {}
            }
        }
        if live.is_empty() {
            return if hope { Choice::Wait } else { Choice::Nobody };
        }
        let first = turn % live.len();
        live.rotate_left(first);
        let now = Instant::now();
        // the first of equals, so that an idle service is used in turn
        let least =
            live.into_iter().min_by_key(|peer| (peer.calls.lasts(now), Arc::strong_count(&peer.calls)));
        least.map_or(Choice::Nobody, |peer| Choice::Use(peer.clone()))
    }
}

impl Registry {
    /// Ends when nobody can call any more.
    pub(crate) async fn abandoned(&self) {
        self.peers.closed().await;
    }

    /// The name could not be looked up; calls need not wait for that any more.
    pub(crate) fn unresolved(&self) {
        self.peers.send_modify(|peers| peers.resolved = true);
    }

    /// Forgets the addresses that are not in `found`, whose calls under way still finish, and returns an entry for each new one.
    pub(crate) fn replace(&self, found: &BTreeSet<SocketAddr>) -> Vec<Entry> {
        let mut added = Vec::new();
        self.peers.send_modify(|peers| {
            peers.resolved = true;
            peers.by_address.retain(|address, _| found.contains(address));
            for address in found {
                if !peers.by_address.contains_key(address) {
                    peers.next_id += 1;
                    peers.by_address.insert(*address, (peers.next_id, State::Connecting));
                    added.push(Entry { registry: self.clone(), address: *address, id: peers.next_id });
                }
            }
        });
        added
    }
}

/// One address in the pool.
pub(crate) struct Entry {
    registry: Registry,
    address: SocketAddr,
    id: u64,
}

impl Entry {
    /// Connects again and again, until the address is forgotten or the pool abandoned. Calls that are under way then have their own
    /// hold on the connection.
    pub(crate) async fn keep(self, dialer: Dialer) {
        tokio::select! {
            () = self.connect_again_and_again(&dialer) => {}
            () = self.registry.abandoned() => {}
        }
    }

    async fn connect_again_and_again(&self, dialer: &Dialer) {
        let mut pause = FIRST_PAUSE;
        loop {
            let steady = match dialer.dial(self.address).await {
                Ok((sender, driver)) => {
                    if !self.set(State::Live(Live { sender, calls: Arc::default() })) {
                        return;
                    }
                    let since = Instant::now();
                    let ended = driver.await;
                    tracing::debug!(?ended, address = %self.address, "connection ended");
                    since.elapsed() >= STEADY
                }
                // once is enough for people
                Err(error) if pause == FIRST_PAUSE => {
                    tracing::warn!(%error, address = %self.address, "cannot connect to a service, trying again");
                    false
                }
                Err(error) => {
                    tracing::debug!(%error, address = %self.address, "still cannot connect to a service");
                    false
                }
            };
            if steady {
                pause = FIRST_PAUSE;
                if !self.set(State::Connecting) {
                    return;
                }
            } else {
                if !self.set(State::Down) {
                    return;
                }
                self.pause(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    async fn pause(&self, length: Duration) {
        let wanted = self.registry.wanted.notified();
        sleep(FIRST_PAUSE).await;
        let _either = timeout(length.saturating_sub(FIRST_PAUSE), wanted).await;
    }

    /// Whether the address is still part of the service.
    fn set(&self, state: State) -> bool {
        let mut current = false;
        self.registry.peers.send_if_modified(|peers| match peers.by_address.get_mut(&self.address) {
            Some(entry) if entry.0 == self.id => {
                entry.1 = state;
                current = true;
                true
            }
            _ => false,
        });
        current
    }
}

impl Pool {
    async fn live(&mut self) -> Result<Live, Status> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut choice = self.peers.borrow().choose(turn);
        if matches!(choice, Choice::Wait) {
            let settled = self.peers.wait_for(|peers| {
                choice = peers.choose(turn);
                !matches!(choice, Choice::Wait)
            });
            // an attempt of the keeper takes as long at most; both outcomes are in `choice`
            let _settled = timeout(CONNECT_TIMEOUT + FIRST_PAUSE, settled).await.is_ok();
        }
        match choice {
            Choice::Use(live) => Ok(live),
            Choice::Wait => Err(unreachable()),
            Choice::Nobody => self.prompted(turn).await.ok_or_else(unreachable),
        }
    }

    /// What is live after attempts to reach what was down.
    async fn prompted(&mut self, turn: usize) -> Option<Live> {
        let given_up = Instant::now() + PROMPTED;
        let mut live = None;
        while live.is_none() && Instant::now() < given_up {
            self.wanted.notify_waiters();
            let found = self.peers.wait_for(|peers| {
                if let Choice::Use(peer) = peers.choose(turn) {
                    live = Some(peer);
                }
                live.is_some()
            });
            if matches!(timeout(FIRST_PAUSE, found).await, Ok(Err(_))) {
                break; // nobody connects any more
            }
        }
        live
    }

    async fn send(mut self, mut request: Request) -> Result<Response, Status> {
        self.direct(&mut request);
        for _ in 0..ATTEMPTS {
            let mut live = self.live().await?;
            live.calls.asked(Instant::now());
            let sent = live.sender.try_send_request(request).await;
            live.calls.answered();
            match sent {
                Ok(answer) => return Ok(answer.map(|body| Body::new(body.map_err(|error| broken(&error))))),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(error.error())),
                },
            }
        }
        Err(unreachable())
    }

    fn direct(&self, request: &mut Request) {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority.clone_from(&self.authority);
        parts.path_and_query =
            Some(request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
}

impl Service<Request> for Pool {
    type Response = Response;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

fn unreachable() -> Status {
    Error::unavailable("a part of the service cannot be reached, try again").into()
}

fn broken(error: &hyper::Error) -> Status {
    // hosts and causes are for the log, not for callers
    tracing::debug!(?error, "call broken off");
    Error::unavailable("a part of the service broke off the call, try again").into()
}

#[cfg(test)]
mod tests;
