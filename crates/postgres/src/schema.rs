//! The three schemas and the roles a pool can take. Closed sets, so that no name ever has to be quoted into SQL.

use std::fmt;

use crate::roles::{APP_ROLE, OPERATOR_ROLE};

/// A schema, owned by exactly one service. Each may live in a database of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schema {
    /// Tenants, keys, agent configuration, catalog, audit.
    Admin,
    /// Attempts, charges, budgets, leases, prices.
    Ledger,
    /// Vectors and the deduplication keys.
    Store,
}

impl Schema {
    /// The schema's name in PostgreSQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Ledger => "ledger",
            Self::Store => "store",
        }
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the connections of a pool may do, whoever logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads and writes under row-level security, owns nothing: the role of every request.
    App,
    /// Reads everything, past row-level security.
    Operator,
    /// Stays the user that logged in: for statements that define tables, indexes and partitions.
    Owner,
}

impl Role {
    /// The PostgreSQL role to change to after logging in, if any.
    pub(crate) const fn assumed(self) -> Option<&'static str> {
        match self {
            Self::App => Some(APP_ROLE),
            Self::Operator => Some(OPERATOR_ROLE),
            Self::Owner => None,
        }
    }
}
