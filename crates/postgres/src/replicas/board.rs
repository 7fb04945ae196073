//! What is known of the replicas, and which of them a read may use. Pure: what was seen and when is passed in.
//!
//! A replica is known by *generations*: one server from its start to its end. What a generation has once replayed it keeps, so a place
//! that was seen holds for every later read of that generation, and for no other: a server that starts again may have lost the end
//! of what it had shown.

use std::time::{Duration, Instant};

use embermesh_types::{Consistency, Lsn, Position, WriteToken};

use super::{
    health::Health,
    trace::{Lag, Trace},
};

/// A replica that was this near lately is worth waiting for.
const NEAR: Duration = Duration::from_secs(1);

/// A look at a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub is_in_recovery: bool,
    /// As far as it had come when `timeline` was not yet asked.
    pub replayed: Option<Lsn>,
    /// What it streams, if it does and this login may know.
    pub timeline: Option<u32>,
}

/// How a replica stands, as metrics and people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It follows the primary and serves reads.
    Following,
    /// It follows, and reads fail on it.
    Failing,
    /// It is no standby any more.
    Promoted,
    /// It is a standby of another cluster, or on another timeline than the primary.
    Foreign,
    /// It does not answer.
    Lost,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Following, Self::Failing, Self::Promoted, Self::Foreign, Self::Lost];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Following => "following",
            Self::Failing => "failing",
            Self::Promoted => "promoted",
            Self::Foreign => "foreign",
            Self::Lost => "lost",
        }
    }
}

/// Why a read is the primary's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The caller asked for everything that was acknowledged.
    Asked,
    /// No replica has come far enough.
    Behind,
    /// No replica serves reads, or all are busy.
    Away,
    /// A replica failed on it.
    Failed,
}

impl Why {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Behind => "behind",
            Self::Away => "away",
            Self::Failed => "failed",
        }
    }
}

/// Who is to be read from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<G> {
    /// This generation of this replica, which counts as in use until [`Board::done`].
    Replica(usize, G),
    /// The primary.
    Primary(Why),
    /// One may be far enough soon.
    Wait,
    /// Nobody: who is reached as the primary is of an earlier timeline than the write, as one is that does not know yet that another
    /// has taken its place.
    Nobody,
}

/// What became of a statement on a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Served,
    Failed,
}

struct Generation<G> {
    system: u64,
    handle: G,
    /// What it has surely replayed, with the timeline.
    proven: Option<Position>,
    last: Option<Look>,
}

struct Host<G> {
    generation: Option<Generation<G>>,
    health: Health,
    in_use: usize,
}

/// What is known of all replicas and of the primary.
pub(super) struct Board<G> {
    hosts: Vec<Host<G>>,
    trace: Trace,
    capacity: usize,
    max_lag: Duration,
    turn: usize,
}

impl<G: Clone> Board<G> {
    pub fn new(hosts: usize, capacity: usize, max_lag: Duration) -> Self {
        let host = || Host { generation: None, health: Health::default(), in_use: 0 };
        let hosts = std::iter::repeat_with(host).take(hosts).collect();
        Self { hosts, trace: Trace::default(), capacity, max_lag, turn: 0 }
    }

    /// The primary is here now.
    pub fn primary(&mut self, now: Instant, position: Position) {
        self.trace.note(now, position);
    }

    /// A server answers as this replica. Nothing that was known of an earlier one holds for it.
    pub fn connected(&mut self, host: usize, system: u64, handle: G) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.generation = Some(Generation { system, handle, proven: None, last: None });
            host.health = Health::default();
        }
    }

    /// The server that answered last was looked at.
    pub fn looked(&mut self, host: usize, look: Look) {
        let Some(generation) = self.hosts.get_mut(host).and_then(|host| host.generation.as_mut()) else {
            return;
        };
        if let (true, Some(lsn), Some(timeline)) = (look.is_in_recovery, look.replayed, look.timeline) {
            generation.proven = Some(Position { system: generation.system, timeline, lsn });
        }
        generation.last = Some(look);
    }

    /// It does not answer any more.
    pub fn lost(&mut self, host: usize) -> Option<G> {
        self.hosts.get_mut(host)?.generation.take().map(|generation| generation.handle)
    }

    /// One that may be read from, if there is one now.
    pub fn choose(&mut self, now: Instant, consistency: Consistency) -> Choice<G> {
        let wanted = match consistency {
            Consistency::ReadYourWrites(WriteToken::Primary) => return Choice::Primary(Why::Asked),
            Consistency::ReadYourWrites(WriteToken::At(position)) => Some(position),
            Consistency::Eventual => None,
        };
        let hosts = self.hosts.iter().enumerate().filter(|(_, host)| self.has_room(host, now));
        let far_enough = hosts.clone().filter(|(_, host)| match wanted {
            Some(position) => host.proven().is_some_and(|proven| proven.covers(&position)),
            None => self.lag(host, now).is_some_and(|lag| lag.time <= self.max_lag),
        });
        let (count, turn) = (self.hosts.len().max(1), self.turn);
        // the least busy; among equals, each in turn
        let chosen = far_enough.min_by_key(|(at, host)| (host.in_use, (at + count - turn % count) % count));
        if let Some((at, host)) = chosen
            && let Some(generation) = &host.generation
        {
            let choice = Choice::Replica(at, generation.handle.clone());
            self.turn = at + 1;
            self.hosts[at].in_use += 1;
            return choice;
        }
        let comes = |position: Position, host: &Host<G>| {
            let same =
                |proven: Position| (proven.system, proven.timeline) == (position.system, position.timeline);
            host.proven().is_some_and(same) && self.lag(host, now).is_some_and(|lag| lag.time <= NEAR)
        };
        match wanted {
            Some(position) if hosts.clone().any(|(_, host)| comes(position, host)) => Choice::Wait,
            Some(position) if self.is_before(position) => Choice::Nobody,
            _ if hosts.count() > 0 => Choice::Primary(Why::Behind),
            _ => Choice::Primary(Why::Away),
        }
    }

    /// What became of a statement, for which this replica was chosen.
    pub fn outcome(&mut self, now: Instant, host: usize, outcome: Outcome) {
        if let Some(host) = self.hosts.get_mut(host) {
            match outcome {
                Outcome::Served => host.health.served(),
                Outcome::Failed => host.health.failed(now),
            }
        }
    }

    /// Whoever chose this replica is through with it.
    pub fn done(&mut self, host: usize) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.in_use = host.in_use.saturating_sub(1);
        }
    }

    /// What leads to the replicas that answer.
    pub fn handles(&self) -> Vec<G> {
        let handle = |host: &Host<G>| Some(host.generation.as_ref()?.handle.clone());
        self.hosts.iter().filter_map(handle).collect()
    }

    /// How one stands, and how far behind it is.
    pub fn standing(&self, now: Instant, host: usize) -> (Standing, Option<Lag>) {
        let Some((host, generation)) =
            self.hosts.get(host).and_then(|host| Some((host, host.generation.as_ref()?)))
        else {
            return (Standing::Lost, None);
        };
        let standing = match generation.last {
            None => Standing::Lost,
            Some(look) if !look.is_in_recovery => Standing::Promoted,
            Some(_) if self.is_of_the_primary(generation) == Some(false) => Standing::Foreign,
            Some(_) if host.health.room(now, self.capacity) < self.capacity => Standing::Failing,
            Some(_) => Standing::Following,
        };
        (standing, self.lag(host, now))
    }

    /// It is a standby, reads work on it, and it has a connection left.
    fn has_room(&self, host: &Host<G>, now: Instant) -> bool {
        let follows = host.generation.as_ref().and_then(|generation| generation.last);
        follows.is_some_and(|look| look.is_in_recovery) && host.in_use < host.health.room(now, self.capacity)
    }

    /// How far behind the primary it is; unknown where it does not follow the primary.
    fn lag(&self, host: &Host<G>, now: Instant) -> Option<Lag> {
        let generation =
            host.generation.as_ref().filter(|generation| self.is_of_the_primary(generation) == Some(true))?;
        self.trace.lag(now, generation.last?.replayed?)
    }

    fn is_before(&self, position: Position) -> bool {
        let is_older =
            |primary: Position| primary.system == position.system && primary.timeline < position.timeline;
        self.trace.newest().is_some_and(is_older)
    }

    /// Same cluster and, where it can be told, same timeline; unknown until the primary has been seen.
    fn is_of_the_primary(&self, generation: &Generation<G>) -> Option<bool> {
        let primary = self.trace.newest()?;
        let timeline = generation.last.and_then(|look| look.timeline);
        let timeline = timeline.or(generation.proven.map(|proven| proven.timeline));
        let is_same = timeline.is_none_or(|timeline| timeline == primary.timeline);
        Some(is_same && primary.system == generation.system)
    }
}

impl<G> Host<G> {
    fn proven(&self) -> Option<Position> {
        self.generation.as_ref()?.proven
    }
}

#[cfg(test)]
mod tests;
