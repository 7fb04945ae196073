//! What an operator may set.

use embermesh_postgres::PoolConfig;
use serde::{Deserialize, Serialize};

/// Settings of the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Connections to the database. Absent: `database.pool`.
    pub pool: PoolConfig,
    /// Most operations that one transaction commits together.
    pub batch: usize,
    /// Operations that may wait for their transaction; further callers wait outside.
    pub queue: usize,
    /// Seconds after which an attempt that nobody settled counts as answered, and is charged at its bound.
    pub presume_after_seconds: u64,
    /// Milliseconds that a call waits for routers to give back what lies unused in their leases, before it is refused for want of it.
    pub call_back_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pool: PoolConfig::default(),
            batch: 256,
            queue: 1024,
            presume_after_seconds: 600,
            call_back_ms: 1_000,
        }
    }
}
