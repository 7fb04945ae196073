//! AWS Signature Version 4, the checking side: whether a request was signed with keys that the account knows, over what it really
//! holds, and lately.
//!
//! Says what is wrong as [`SignatureError`]; how that reads is up to each service. What STS hands out is kept in [`Sessions`].

mod canonical;
mod credential;
mod session;
#[cfg(test)]
mod tests;

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::api::AwsKeys;
use super::wall;
use credential::Credential;
pub(super) use session::{Session, Sessions};

/// How far a client's clock may be off.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// Why a signature is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SignatureError {
    /// There is none.
    Missing,
    /// There is something, but not all that a signature needs; says what is wrong.
    Incomplete(String),
    /// Nobody has that key, or not with that session token.
    UnknownKey,
    /// A temporary key whose time is over.
    Expired,
    /// Signed too long ago or in the future.
    Skewed(String),
    /// Signed for another region, service or day; says which.
    Scope(String),
    /// Signed with another secret, or over something else than what arrived.
    Mismatch,
}

/// Checks the signature of a request to `service`.
pub(super) fn verify(
    keys: &AwsKeys,
    sessions: &Sessions,
    service: &str,
    head: &Parts,
    body: &[u8],
) -> Result<(), SignatureError> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = header("authorization").ok_or(SignatureError::Missing)?;
    let credential = Credential::read(authorization).map_err(SignatureError::Incomplete)?;
    let date =
        header("x-amz-date").ok_or_else(|| SignatureError::Incomplete("x-amz-date is missing".to_owned()))?;

    let secret = secret_of(keys, sessions, &credential, header("x-amz-security-token"))?;
    check_time(date)?;
    check_scope(&credential, date, &keys.region, service)?;
    let request =
        canonical::request(head, body, &credential.signed_headers).map_err(SignatureError::Incomplete)?;
    let expected = signature(&secret, &credential.scope(), date, &request);
    if expected == credential.signature { Ok(()) } else { Err(SignatureError::Mismatch) }
}

fn secret_of(
    keys: &AwsKeys,
    sessions: &Sessions,
    credential: &Credential<'_>,
    token: Option<&str>,
) -> Result<String, SignatureError> {
    if credential.access_key_id == keys.access_key_id {
        return if token == keys.session_token.as_deref() {
            Ok(keys.secret_access_key.clone())
        } else {
            Err(SignatureError::UnknownKey)
        };
    }
    let session = sessions.find(credential.access_key_id).ok_or(SignatureError::UnknownKey)?;
    if token != Some(session.session_token.as_str()) {
        return Err(SignatureError::UnknownKey);
    }
    if session.expires <= wall::now() { Err(SignatureError::Expired) } else { Ok(session.secret_access_key) }
}

fn check_time(date: &str) -> Result<(), SignatureError> {
    let signed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date)
        .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|_| SignatureError::Incomplete(format!("x-amz-date {date} is not like 20150830T123600Z")))?;
    let now = i64::try_from(wall::since_epoch().as_secs()).unwrap_or(i64::MAX);
    let skew = now.abs_diff(signed.timestamp().as_second());
    if skew <= MAX_SKEW.as_secs() {
        return Ok(());
    }
    let now = Timestamp::from_second(now).unwrap_or_default();
    Err(SignatureError::Skewed(format!("{date} is {skew} s away from {now}")))
}

fn check_scope(
    credential: &Credential<'_>,
    date: &str,
    region: &str,
    service: &str,
) -> Result<(), SignatureError> {
    let day = date.get(..8).unwrap_or_default();
    for (what, signed, expected) in [
        ("date", credential.day, day),
        ("region", credential.region, region),
        ("service", credential.service, service),
    ] {
        if signed != expected {
            return Err(SignatureError::Scope(format!("{what} '{signed}', should be '{expected}'")));
        }
    }
    Ok(())
}

/// The signature of a canonical request, in hexadecimal.
fn signature(secret: &str, scope: &str, date: &str, request: &str) -> String {
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request)));
    let start = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(start, |key, part| mac(&key, part.as_bytes()));
    hex(&mac(&key, to_sign.as_bytes()))
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
