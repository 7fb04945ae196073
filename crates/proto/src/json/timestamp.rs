//! `google.protobuf.Timestamp` as RFC 3339 in UTC.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

/// Writes microseconds at most: what the database keeps.
pub fn serialize<S: Serializer>(time: &Option<prost_types::Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        None => to.serialize_none(),
        Some(time) => {
            let time = Timestamp::new(time.seconds, time.nanos).map_err(S::Error::custom)?;
            to.collect_str(&time)
        }
    }
}

/// Reads RFC 3339 with any offset, or null.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<prost_types::Timestamp>, D::Error> {
    let Some(text) = Option::<std::borrow::Cow<'de, str>>::deserialize(from)? else { return Ok(None) };
    // the text is not repeated: it may be anything
    let wrong = |_| D::Error::custom("expected a time in RFC 3339 such as 2026-01-31T12:00:00Z");
    let time: Timestamp = text.parse().map_err(wrong)?;
    Ok(Some(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }))
}
