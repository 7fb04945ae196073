//! Which rows a call is about.

use std::time::{Duration, SystemTime};

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_proto::internal::v1::StoreFilter;
use embermesh_types::{AgentId, EmbeddingId, SpaceId};

use super::{agent, metadata_filter::MetadataFilter, text};

/// Most ids in one filter.
const MAX_IDS: usize = 10_000;

/// A conjunction; absent parts do not restrict. The tenant is not among them: it comes from the credential.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) agent: Option<AgentId>,
    pub(crate) context: Option<String>,
    pub(crate) ids: Vec<EmbeddingId>,
    pub(crate) metadata: Option<MetadataFilter>,
    /// Rows of this instant and later.
    pub(crate) after: Option<SystemTime>,
    /// Rows before this instant.
    pub(crate) before: Option<SystemTime>,
    pub(crate) space: Option<SpaceId>,
}

impl Filter {
    /// Reads a filter as the caller gave it.
    pub(crate) fn parse(filter: StoreFilter) -> Result<Self, Error> {
        text::without_nul("context_id", &filter.context_id)?;
        if filter.embedding_ids.len() > MAX_IDS {
            return Err(Error::invalid(
                "embedding_ids",
                format!("{} ids in one filter, the most is {MAX_IDS}", filter.embedding_ids.len()),
            ));
        }
        let ids = filter.embedding_ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?;
        let metadata = MetadataFilter::parse("metadata_filter", &filter.metadata)?;
        let space = match filter.space_id.as_str() {
            "" => None,
            id => Some(parse_space(id)?),
        };
        Ok(Self {
            agent: agent::parse(&filter.agent_id)?,
            context: Some(filter.context_id).filter(|context| !context.is_empty()),
            ids,
            metadata,
            after: filter.created_after.map(|time| instant("created_after", time)).transpose()?,
            before: filter.created_before.map(|time| instant("created_before", time)).transpose()?,
            space,
        })
    }

    /// The filter within what the caller may touch.
    pub(crate) fn for_principal(mut self, principal: &Principal) -> Result<Self, Error> {
        self.agent = agent::effective(principal, self.agent.take())?;
        Ok(self)
    }

    /// Whether it restricts nothing.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads an id of a row.
pub(crate) fn parse_id(text: &str) -> Result<EmbeddingId, Error> {
    text.parse().map_err(|error: embermesh_types::IdError| Error::invalid("embedding_id", error.to_string()))
}

/// Reads a space id.
pub(crate) fn parse_space(text: &str) -> Result<SpaceId, Error> {
    text.parse().map_err(|error: embermesh_types::SpaceError| Error::invalid("space_id", error.to_string()))
}

/// Years 1 to 9999, as RFC 3339 can write them.
fn instant(param: &str, time: prost_types::Timestamp) -> Result<SystemTime, Error> {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let valid = YEARS.contains(&time.seconds);
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| valid && *nanos < 1_000_000_000);
    let nanos = nanos
        .ok_or_else(|| Error::invalid(param, format!("{param} is not a time of the years 1 to 9999")))?;
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole =
        if time.seconds < 0 { SystemTime::UNIX_EPOCH - seconds } else { SystemTime::UNIX_EPOCH + seconds };
    Ok(whole + Duration::from_nanos(u64::from(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parts_do_not_restrict() {
        let filter =
            Filter::parse(StoreFilter { metadata: " { } ".into(), ..StoreFilter::default() }).unwrap();
        assert!(filter.is_empty());
        let filter = Filter::parse(StoreFilter { agent_id: "a".into(), ..StoreFilter::default() }).unwrap();
        assert!(!filter.is_empty());
    }

    #[test]
    fn what_cannot_be_a_filter_is_named() {
        let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        let bad = [
            (StoreFilter { agent_id: "a b".into(), ..StoreFilter::default() }, "agent_id"),
            (StoreFilter { context_id: "a\0".into(), ..StoreFilter::default() }, "context_id"),
            (StoreFilter { embedding_ids: vec!["x".into()], ..StoreFilter::default() }, "embedding_id"),
            (
                StoreFilter { embedding_ids: vec![String::new(); 10_001], ..StoreFilter::default() },
                "embedding_ids",
            ),
            (StoreFilter { metadata: "[1]".into(), ..StoreFilter::default() }, "metadata_filter"),
            (StoreFilter { space_id: "nowhere".into(), ..StoreFilter::default() }, "space_id"),
            (StoreFilter { created_after: time(i64::MAX, 0), ..StoreFilter::default() }, "created_after"),
            (StoreFilter { created_before: time(0, -1), ..StoreFilter::default() }, "created_before"),
        ];
        for (filter, param) in bad {
            assert_eq!(Filter::parse(filter).unwrap_err().param.as_deref(), Some(param));
        }
    }
}
