//! Approximate indexes of vectors.

use std::{fmt, time::SystemTime};

use serde::{Deserialize, Serialize};

/// The kind of an approximate index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexKind {
    /// A graph: the best recall for the time of a search, slow to build.
    #[default]
    Hnsw,
    /// Lists around centres: quick to build and smaller, slower to search at the same recall. The centres are those of the rows that were
    /// there when it was built.
    Ivfflat,
}

impl IndexKind {
    /// As PostgreSQL and callers name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hnsw => "hnsw",
            Self::Ivfflat => "ivfflat",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Hnsw, Self::Ivfflat].into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for IndexKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The index of one month of a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) kind: IndexKind,
    /// What a search has to look at in it, if that was measured.
    pub(crate) ef_search: Option<u16>,
    /// The month's first instant.
    pub(crate) from: SystemTime,
    /// The first instant after it.
    pub(crate) until: SystemTime,
}

impl Index {
    /// Whether rows of this time can be in it; `None` is without bound.
    pub(crate) fn overlaps(&self, after: Option<SystemTime>, before: Option<SystemTime>) -> bool {
        after.is_none_or(|after| after < self.until) && before.is_none_or(|before| before > self.from)
    }
}

/// An instant as SQL, to the second.
pub(crate) struct Instant(pub(crate) SystemTime);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = match self.0.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i128::from(since.as_secs()),
            Err(before) => -i128::from(before.duration().as_secs()),
        };
        write!(f, "to_timestamp({seconds})")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_index_overlaps_what_has_an_instant_in_common_with_it() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let index = Index { kind: IndexKind::Hnsw, ef_search: None, from: at(10), until: at(20) };
        for (after, before, expected) in [
            (None, None, true),
            (Some(20), None, false),
            (Some(19), None, true),
            (None, Some(10), false),
            (None, Some(11), true),
            (Some(12), Some(13), true),
            (Some(0), Some(5), false),
        ] {
            assert_eq!(index.overlaps(after.map(at), before.map(at)), expected, "{after:?} to {before:?}");
        }
        assert_eq!(Instant(at(20)).to_string(), "to_timestamp(20)");
    }
}
