//! An entry of a batch that failed prints what it has: an empty vector or metadata beside an error would look like an answer.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::{RawValue, to_raw_value};

use crate::v1::BatchEntry;

/// The entry as all other messages are written.
struct Whole<'a>(&'a BatchEntry);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        BatchEntry::serialize(self.0, to)
    }
}

impl Serialize for BatchEntry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let absent = [("embedding", self.embedding.is_empty()), ("metadata", self.metadata.is_empty())]
            .map(|(name, is_empty)| is_empty.then_some(name));
        if self.error.is_none() || absent == [None, None] {
            return Whole(self).serialize(to);
        }
        // the members as text, so that money and vectors keep their digits
        let whole = to_raw_value(&Whole(self)).map_err(S::Error::custom)?;
        let mut members: BTreeMap<&str, &RawValue> =
            serde_json::from_str(whole.get()).map_err(S::Error::custom)?;
        members.retain(|name, _| !absent.contains(&Some(*name)));
        members.serialize(to)
    }
}
