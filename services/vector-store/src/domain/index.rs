//! Approximate indexes of vectors.

use std::{fmt, time::SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

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

/// What holds rows of one month of a space: of a tenant that is promoted, or of all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Absent while it has not earned one.
    pub(crate) kind: Option<IndexKind>,
    /// What a search has to look at in the index, if that was measured.
    pub(crate) ef_search: Option<u16>,
    /// Whose rows alone it holds.
    pub(crate) tenant: Option<Uuid>,
    /// The month's first instant.
    pub(crate) from: SystemTime,
    /// The first instant after it.
    pub(crate) until: SystemTime,
}

/// The index that a search of one tenant asks in one month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) kind: IndexKind,
    pub(crate) ef_search: Option<u16>,
    pub(crate) rows: Rows,
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
}

/// Whose rows an index holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rows {
    Of(Uuid),
    /// Of all but these.
    Others(Vec<Uuid>),
}

/// The indexes of the months in which rows of a tenant and this time can be; `None` is without bound.
pub(crate) fn asked(
    leaves: &[Leaf],
    tenant: Uuid,
    after: Option<SystemTime>,
    before: Option<SystemTime>,
) -> Vec<Index> {
    let own = |leaf: &Leaf| leaf.tenant == Some(tenant);
    let promoted =
        |month: SystemTime| leaves.iter().filter(move |leaf| leaf.from == month && leaf.tenant.is_some());
    let of = |leaf: &Leaf| match leaf.tenant {
        Some(tenant) => Rows::Of(tenant),
        None => Rows::Others(promoted(leaf.from).filter_map(|other| other.tenant).collect()),
    };
    leaves
        .iter()
        .filter(|leaf| {
            after.is_none_or(|after| after < leaf.until) && before.is_none_or(|before| before > leaf.from)
        })
        .filter(|leaf| own(leaf) || leaf.tenant.is_none() && !promoted(leaf.from).any(own))
        .filter_map(|leaf| {
            let Leaf { ef_search, from, until, .. } = *leaf;
            Some(Index { kind: leaf.kind?, ef_search, rows: of(leaf), from, until })
        })
        .collect()
}

impl fmt::Display for Rows {
    /// As a condition in SQL. Written out, and not as a parameter, so that a plan is made for this partition alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(tenant) => write!(f, " AND tenant_id = '{tenant}'"),
            Self::Others(promoted) => {
                promoted.iter().try_for_each(|tenant| write!(f, " AND tenant_id <> '{tenant}'"))
            }
        }
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

    const TENANT: Uuid = Uuid::from_u128(1);
    const PROMOTED: Uuid = Uuid::from_u128(2);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn leaf(from: u64, tenant: Option<Uuid>, kind: Option<IndexKind>) -> Leaf {
        Leaf { kind, ef_search: None, tenant, from: at(from), until: at(from + 10) }
    }

    fn months(leaves: &[Leaf], tenant: Uuid) -> Vec<(u64, String)> {
        let begin = |index: &Index| index.from.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        asked(leaves, tenant, None, None).iter().map(|index| (begin(index), index.rows.to_string())).collect()
    }

    #[test]
    fn an_index_is_asked_that_has_an_instant_in_common_with_the_filter() {
        let leaves = [leaf(10, None, Some(IndexKind::Hnsw))];
        for (after, before, expected) in [
            (None, None, 1),
            (Some(20), None, 0),
            (Some(19), None, 1),
            (None, Some(10), 0),
            (None, Some(11), 1),
            (Some(12), Some(13), 1),
            (Some(0), Some(5), 0),
        ] {
            let found = asked(&leaves, TENANT, after.map(at), before.map(at));
            assert_eq!(found.len(), expected, "{after:?} to {before:?}");
        }
        assert_eq!(Instant(at(20)).to_string(), "to_timestamp(20)");
    }

    #[test]
    fn a_promoted_tenant_has_its_own_and_everybody_else_the_other() {
        let hnsw = Some(IndexKind::Hnsw);
        let leaves =
            [leaf(0, None, hnsw), leaf(10, None, hnsw), leaf(10, Some(PROMOTED), hnsw), leaf(20, None, None)];
        let (own, others) =
            (format!(" AND tenant_id = '{PROMOTED}'"), format!(" AND tenant_id <> '{PROMOTED}'"));
        assert_eq!(months(&leaves, PROMOTED), [(0, String::new()), (10, own)]);
        assert_eq!(months(&leaves, TENANT), [(0, String::new()), (10, others)]);
        // its own part is read exactly, whatever the other one has
        let leaves = [leaf(10, None, hnsw), leaf(10, Some(PROMOTED), None)];
        assert_eq!(months(&leaves, PROMOTED), []);
    }
}
