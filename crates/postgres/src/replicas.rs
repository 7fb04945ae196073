//! Reads on streaming replicas, each on one that has surely come far enough, and on the primary where there is none.
//!
//! A write is marked with the place of the log behind its COMMIT ([`WriteMark`](crate::WriteMark)); a read that is given the mark's token
//! goes to a replica only when that has replayed the log up to there, on the same timeline of the same cluster. How far replicas are is
//! watched in the background, so neither writes nor reads ask for it. A replica that is lost, late, promoted or failing costs a read
//! nothing: the primary serves it.

mod board;
mod health;
mod inspect;
mod look;
mod reader;
mod settings;
mod trace;
mod watch;

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use embermesh_types::Consistency;
use futures::future::join_all;
use secrecy::SecretString;
use tokio::sync::{Notify, watch as channel};
use tokio::time::timeout_at;

use crate::{Database, DbError, PoolConfig, Role, Schema, dsn::Dsn};
use board::{Board, Choice};
use reader::{Held, On};

pub use board::{Standing, Why};
pub use inspect::{Inspected, inspect};
pub(crate) use look::INCARNATION;
pub use reader::{ReadSession, Reader};
pub use settings::ReplicaSettings;
pub use trace::Lag;

/// Who answered, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A replica.
    Replica,
    /// The primary, and why.
    Primary(Why),
}

/// A replica at one instant, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Host and port.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// How far behind the primary it is, where that can be told.
    pub lag: Option<Lag>,
}

/// Chooses where requests read.
pub struct ReadRouter {
    primary: Database,
    replicas: Option<Replicas>,
    on_read: Box<dyn Fn(Source) + Send + Sync>,
}

/// Where replicas are, and how they are used.
#[derive(Clone, Debug, Default)]
pub struct ReplicaSet {
    /// One server each.
    pub urls: Vec<SecretString>,
    /// Limits.
    pub settings: ReplicaSettings,
}

struct Replicas {
    hosts: Vec<Host>,
    primary: Dsn,
    board: Mutex<Board<Arc<Generation>>>,
    /// Looks so far.
    progress: channel::Sender<u64>,
    settings: ReplicaSettings,
    limits: PoolConfig,
    schema: Schema,
    role: Role,
}

struct Host {
    name: String,
    dsn: Dsn,
    /// A read waits for it.
    asked: Notify,
}

/// The connections to one server from its start to its end.
struct Generation {
    database: Database,
    gone: channel::Sender<bool>,
}

impl ReadRouter {
    /// Reads of `primary`, whose connections work in `schema` as `role`, and of replicas of the server at `url`. Connects to nothing:
    /// [`ReadRouter::follow`] does, and until it has, the primary serves. `on_read` hears of every choice where there are replicas.
    ///
    /// # Errors
    /// [`DbError::Configuration`] when a URL is unusable, names several servers, or stands there twice.
    pub fn new(
        primary: Database,
        url: &SecretString,
        (schema, role): (Schema, Role),
        limits: &PoolConfig,
        set: &ReplicaSet,
        on_read: impl Fn(Source) + Send + Sync + 'static,
    ) -> Result<Self, DbError> {
        let replicas = Replicas::new(url, (schema, role), limits, set)?;
        Ok(Self { primary, replicas, on_read: Box::new(on_read) })
    }

    /// Watches the replicas for ever; returns only where there are none.
    pub async fn follow(&self) {
        let Some(replicas) = &self.replicas else { return };
        let watches = (0..replicas.hosts.len()).map(|at| replicas.watch(at));
        tokio::join!(join_all(watches), replicas.watch_primary());
    }

    /// Reads on the primary, whatever there is beside it.
    pub fn on_primary(&self) -> Reader<'_> {
        Reader::new(self, On::Primary, false)
    }

    /// Chooses for one request, waiting a little for a replica that is about to come far enough.
    pub async fn reader(&self, consistency: Consistency) -> Reader<'_> {
        let is_eventual = consistency == Consistency::Eventual;
        let Some(replicas) = &self.replicas else { return Reader::new(self, On::Primary, is_eventual) };
        let on = match replicas.choose(consistency).await {
            Ok(on) => {
                self.tell(Source::Replica);
                on
            }
            Err(Some(why)) => {
                self.tell(Source::Primary(why));
                On::Primary
            }
            Err(None) => On::Nobody,
        };
        Reader::new(self, on, is_eventual)
    }

    /// The replicas at this instant.
    pub fn status(&self) -> Vec<ReplicaStatus> {
        let Some(replicas) = &self.replicas else { return Vec::new() };
        let (board, now) = (replicas.board(), Instant::now());
        let status = |(at, host): (usize, &Host)| {
            let (standing, lag) = board.standing(now, at);
            ReplicaStatus { name: host.name.clone(), standing, lag }
        };
        replicas.hosts.iter().enumerate().map(status).collect()
    }

    /// Closes connections to replicas that have been idle or alive for too long.
    pub fn reap(&self) {
        for generation in self.replicas.iter().flat_map(|replicas| replicas.board().handles()) {
            generation.database.reap();
        }
    }

    fn tell(&self, source: Source) {
        (self.on_read)(source);
    }
}

impl fmt::Debug for ReadRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadRouter").field("replicas", &self.status()).finish_non_exhaustive()
    }
}

impl Replicas {
    fn new(
        url: &SecretString,
        (schema, role): (Schema, Role),
        limits: &PoolConfig,
        set: &ReplicaSet,
    ) -> Result<Option<Self>, DbError> {
        if set.urls.is_empty() {
            return Ok(None);
        }
        let mut names = HashSet::new();
        let mut hosts = Vec::with_capacity(set.urls.len());
        for url in &set.urls {
            let dsn = Dsn::parse(url)?;
            let name = dsn.one_host()?;
            if !names.insert(name.clone()) {
                return Err(DbError::Configuration(format!("the replica {name} is named twice")));
            }
            hosts.push(Host { name, dsn, asked: Notify::new() });
        }
        let limits = set.settings.pool(limits);
        // a search asks two things at once
        let at_once = limits.max_open_conns.get().div_ceil(2);
        let board = Board::new(hosts.len(), at_once, set.settings.max_lag);
        Ok(Some(Self {
            hosts,
            primary: Dsn::parse(url)?,
            board: Mutex::new(board),
            progress: channel::Sender::new(0),
            settings: set.settings.clone(),
            limits,
            schema,
            role,
        }))
    }

    fn board(&self) -> MutexGuard<'_, Board<Arc<Generation>>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A replica, or why it is the primary; nothing where it must not even be that.
    async fn choose(&self, consistency: Consistency) -> Result<On<'_>, Option<Why>> {
        let mut progress = self.progress.subscribe();
        let deadline = tokio::time::Instant::now() + self.settings.wait;
        loop {
            progress.mark_unchanged();
            let choice = self.board().choose(Instant::now(), consistency);
            match choice {
                Choice::Replica(at, generation) => return Ok(On::Replica(Held::new(self, at, generation))),
                Choice::Primary(why) => return Err(Some(why)),
                Choice::Nobody => return Err(None),
                Choice::Wait => {
                    for host in &self.hosts {
                        host.asked.notify_one();
                    }
                    if timeout_at(deadline, progress.changed()).await.is_err() {
                        return Err(Some(Why::Behind));
                    }
                }
            }
        }
    }
}
