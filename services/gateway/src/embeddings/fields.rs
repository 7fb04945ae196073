//! The fields that several calls share, from what a client wrote to what is known to be right.

use embermesh_errors::Error;
use embermesh_proto::internal::v1::StoreRead;
use embermesh_types::{Consistency, EmbeddingId, SpaceId, WriteToken};
use prost_types::Timestamp;

/// The task type of calls that name none.
const GENERAL_QA: &str = "general_qa";
/// Longest id that a catalog would hold.
const MAX_MODEL_BYTES: usize = 255;
/// 0001-01-01 and 9999-12-31: what RFC 3339 can write.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

pub(crate) fn task_type(given: Option<String>) -> Result<String, Error> {
    let Some(name) = given else { return Ok(GENERAL_QA.to_owned()) };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(name);
    }
    Err(Error::invalid(
        "task_type",
        "task_type must be 1 to 64 characters of letters, digits, '.', '_', ':' and '-'",
    ))
}

pub(crate) fn model(given: Option<String>) -> Result<Option<String>, Error> {
    let Some(id) = given else { return Ok(None) };
    if (1..=MAX_MODEL_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(Some(id));
    }
    Err(Error::invalid("model", "model must be the id of a catalog model; leave it out for the agent's own"))
}

pub(crate) fn dimensions(given: Option<u32>) -> Result<Option<u32>, Error> {
    if given.is_none_or(|d| (1..=SpaceId::MAX_DIMENSIONS).contains(&d)) {
        return Ok(given);
    }
    Err(Error::invalid("dimensions", format!("dimensions must be 1 to {}", SpaceId::MAX_DIMENSIONS)))
}

pub(super) fn context_id(given: Option<String>) -> Result<Option<String>, Error> {
    let Some(id) = given else { return Ok(None) };
    if (1..=255).contains(&id.chars().count()) && !id.chars().any(char::is_control) {
        return Ok(Some(id));
    }
    Err(Error::invalid("context_id", "context_id must be 1 to 255 printable characters"))
}

pub(crate) fn space(given: &str) -> Result<SpaceId, Error> {
    given.parse().map_err(|error| Error::invalid("space_id", format!("{error}")))
}

pub(super) fn embedding_id(param: &str, given: &str) -> Result<EmbeddingId, Error> {
    given.parse().map_err(|_| Error::invalid(param, format!("{param} must be a UUID")))
}

/// 1 to 1000, or the default.
pub(super) fn bounded(param: &str, given: Option<u32>, default: u32) -> Result<u32, Error> {
    match given.unwrap_or(default) {
        fits @ 1..=1000 => Ok(fits),
        other => Err(Error::invalid(param, format!("{param} must be 1 to 1000, it is {other}"))),
    }
}

/// What a read has to see; checked before anything is paid for.
pub(super) fn read(
    consistency: Option<&str>,
    after_token: Option<&str>,
    default: Consistency,
) -> Result<StoreRead, Error> {
    let parsed = Consistency::parse(consistency, after_token, default);
    match parsed.map_err(|error| Error::invalid(error.param(), error.to_string()))? {
        Consistency::Eventual => Ok(StoreRead { eventual: true, ..StoreRead::default() }),
        Consistency::ReadYourWrites(token) => {
            Ok(StoreRead { eventual: false, after_token: token.to_string() })
        }
    }
}

/// What the store says stands for a write.
pub(super) fn written(token: &str) -> WriteToken {
    // a store of before there were tokens says nothing
    token.parse().unwrap_or_default()
}

/// By what rows are searched: whether by their words too.
pub(super) fn is_hybrid(mode: Option<&str>) -> Result<bool, Error> {
    match mode {
        None | Some("vector") => Ok(false),
        Some("hybrid") => Ok(true),
        Some(_) => Err(Error::invalid("mode", "mode must be vector or hybrid")),
    }
}

/// Two times that a row must lie between.
pub(super) fn created_between(after: Option<&Timestamp>, before: Option<&Timestamp>) -> Result<(), Error> {
    for (param, time) in [("created_after", after), ("created_before", before)] {
        if time.is_some_and(|t| !YEARS.contains(&t.seconds) || !(0..1_000_000_000).contains(&t.nanos)) {
            return Err(Error::invalid(param, format!("{param} is not a time between the years 1 and 9999")));
        }
    }
    if let (Some(after), Some(before)) = (after, before)
        && (after.seconds, after.nanos) >= (before.seconds, before.nanos)
    {
        return Err(Error::invalid("created_before", "created_before must be later than created_after"));
    }
    Ok(())
}
