//! How much is counted, in the unit of its account.

use std::fmt;

use embermesh_types::{NanoUsd, TokenCount};

/// So much of what an account counts: nano-USD, requests or tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub i64);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// As money, which it is in every account but those of quotas.
    pub const fn nano_usd(self) -> NanoUsd {
        NanoUsd(self.0)
    }
}

impl From<NanoUsd> for Amount {
    fn from(money: NanoUsd) -> Self {
        Self(money.0)
    }
}

impl From<TokenCount> for Amount {
    fn from(tokens: TokenCount) -> Self {
        Self(i64::try_from(tokens.0).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
