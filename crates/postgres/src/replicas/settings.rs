//! How replicas are watched and how long they are waited for.

use std::{num::NonZeroUsize, time::Duration};

use crate::PoolConfig;

/// Opening a connection to a replica must not take longer than asking the primary.
const LONGEST_CONNECT: Duration = Duration::from_secs(1);

/// Limits of the replicas, in each process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// Most connections to one replica; absent: as for the primary.
    pub max_open_conns: Option<NonZeroUsize>,
    /// Most idle ones; absent: as for the primary.
    pub max_idle_conns: Option<usize>,
    /// Between two looks at how far a replica has come.
    pub poll_interval: Duration,
    /// A replica that does not say for this long how far it has come is lost until it does.
    pub lost_after: Duration,
    /// How long a read waits for a replica that has its write, before it goes to the primary.
    pub wait: Duration,
    /// A replica that is further behind serves no eventual reads.
    pub max_lag: Duration,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            max_open_conns: None,
            max_idle_conns: None,
            poll_interval: Duration::from_millis(20),
            lost_after: Duration::from_millis(250),
            wait: Duration::from_millis(20),
            max_lag: Duration::from_secs(30),
        }
    }
}

impl ReplicaSettings {
    /// The limits of one replica's pool.
    pub(super) fn pool(&self, primary: &PoolConfig) -> PoolConfig {
        PoolConfig {
            max_open_conns: self.max_open_conns.unwrap_or(primary.max_open_conns),
            max_idle_conns: self.max_idle_conns.unwrap_or(primary.max_idle_conns),
            acquire_timeout: primary.acquire_timeout.min(LONGEST_CONNECT),
            connect_timeout: primary.connect_timeout.min(LONGEST_CONNECT),
            ..primary.clone()
        }
    }
}
