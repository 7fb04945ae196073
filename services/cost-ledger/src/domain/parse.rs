//! Fields that several messages have, checked on arrival.

use std::{
    fmt::Display,
    str::FromStr,
    time::{Duration, SystemTime},
};

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_escrow::Amount;
use embermesh_types::{AttemptId, KeyId, NanoUsd};
use jiff::civil::Date;
use uuid::Uuid;

pub(crate) fn parse<T: FromStr<Err: Display>>(param: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|error: T::Err| Error::invalid(param, error.to_string()))
}

/// Empty is none.
pub(crate) fn optional<T: FromStr<Err: Display>>(param: &str, text: &str) -> Result<Option<T>, Error> {
    if text.is_empty() { Ok(None) } else { parse(param, text).map(Some) }
}

/// No key means the caller's.
pub(crate) fn key_of(param: &str, text: &str, caller: &Principal) -> Result<KeyId, Error> {
    if text.is_empty() { Ok(caller.key.clone()) } else { parse(param, text) }
}

/// With the time that is in it, which its row is filed under.
pub(crate) fn attempt_id(text: &str) -> Result<(AttemptId, SystemTime), Error> {
    let (id, time) = uuid7("attempt_id", text)?;
    Ok((AttemptId::new(id), time))
}

/// A UUID of version 7 with the time that is in it.
pub(crate) fn uuid7(param: &str, text: &str) -> Result<(Uuid, SystemTime), Error> {
    let id: Uuid = text.parse().map_err(|_| Error::invalid(param, format!("{param} must be a UUID")))?;
    let time = (id.get_version_num() == 7).then(|| id.get_timestamp()).flatten().and_then(|time| {
        let (seconds, nanos) = time.to_unix();
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
    });
    let time = time.ok_or_else(|| Error::invalid(param, format!("{param} must be a UUID of version 7")))?;
    Ok((id, time))
}

/// A day as YYYY-MM-DD.
pub(crate) fn day(param: &str, text: &str) -> Result<Date, Error> {
    text.parse().map_err(|_| Error::invalid(param, "expected a day as YYYY-MM-DD"))
}

/// How far two times are apart.
pub(crate) fn age(one: SystemTime, other: SystemTime) -> Duration {
    other.duration_since(one).unwrap_or_else(|error| error.duration())
}

pub(crate) fn label(param: &str, text: String) -> Result<String, Error> {
    if (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(Error::invalid(param, "expected 1 to 255 characters and no control characters"))
}

pub(crate) fn money(param: &str, nanos: i64) -> Result<NanoUsd, Error> {
    if nanos < 0 {
        Err(Error::invalid(param, "an amount of money may not be negative"))
    } else {
        Ok(NanoUsd(nanos))
    }
}

pub(crate) fn amount(param: &str, amount: i64) -> Result<Amount, Error> {
    if amount < 0 { Err(Error::invalid(param, "it may not be negative")) } else { Ok(Amount(amount)) }
}

pub(crate) fn count(param: &str, count: u64) -> Result<i64, Error> {
    i64::try_from(count).map_err(|_| Error::invalid(param, "too large a count"))
}

pub(crate) fn inputs(param: &str, inputs: u32) -> Result<i32, Error> {
    i32::try_from(inputs).map_err(|_| Error::invalid(param, "too large a count"))
}
