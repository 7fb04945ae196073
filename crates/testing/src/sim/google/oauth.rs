//! Google's OAuth token endpoint, as far as service accounts need it (RFC 7523): `POST {prefix}/token`.
//!
//! Checks what Google checks: signature, key id, issuer, audience, scope, and that the assertion is of now and lasts an hour at most.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::request::Parts;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};

use super::super::Deployment;
use super::super::wire::{Refusal, Written};
use super::key::EMAIL;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const LONGEST: u64 = 3600;
/// How far the caller's clock may be ahead.
const SKEW: u64 = 5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    scope: String,
    aud: String,
    iat: u64,
    exp: u64,
}

#[derive(Serialize)]
struct OAuthError {
    error: &'static str,
    error_description: &'static str,
}

fn refuse(error: &'static str, error_description: &'static str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        written: Written::serialise(&OAuthError { error, error_description }),
    }
}

/// Trades an assertion for an access token.
pub(in super::super) fn answer(
    deployment: &Deployment,
    head: &Parts,
    body: &[u8],
) -> Result<Written, Refusal> {
    let tokens = &deployment.tokens;
    if let Some(outage) = tokens.outage() {
        return Err(outage);
    }
    if head.headers.get("content-type").is_none_or(|kind| kind != "application/x-www-form-urlencoded") {
        return Err(refuse("invalid_request", "send a form"));
    }
    let mut form: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    form.sort();
    let [(a, assertion), (g, grant_type)] = form.as_slice() else {
        return Err(refuse("invalid_request", "send grant_type and assertion, each once"));
    };
    if (a.as_str(), g.as_str()) != ("assertion", "grant_type") {
        return Err(refuse("invalid_request", "send grant_type and assertion, each once"));
    }
    if grant_type != GRANT_TYPE {
        return Err(refuse("unsupported_grant_type", "only jwt-bearer is served"));
    }
    check(deployment, assertion)?;
    Ok(Written::serialise(&tokens.grant(deployment.token_lifetime_s())))
}

fn check(deployment: &Deployment, assertion: &str) -> Result<(), Refusal> {
    let key = deployment.tokens.key();
    let head = decode_header(assertion).map_err(|_| refuse("invalid_grant", "the assertion is no JWT"))?;
    if head.typ.as_deref() != Some("JWT") || head.kid.as_ref() != Some(&key.id) {
        return Err(refuse("invalid_grant", "the JWT is not signed with a key of this account"));
    }
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[deployment.token_uri()]);
    validation.set_issuer(&[EMAIL]);
    // by the project's own clock, below
    validation.validate_exp = false;
    let claims = decode::<Claims>(assertion, key.public(), &validation)
        .map_err(|_| refuse("invalid_grant", "signature, issuer or audience of the JWT is wrong"))?
        .claims;
    debug_assert_eq!((claims.iss.as_str(), claims.aud), (EMAIL, deployment.token_uri()));
    if claims.scope != SCOPE {
        return Err(refuse("invalid_scope", "ask for cloud-platform"));
    }
    let now = seconds(deployment.tokens.now());
    let short_lived = claims.exp > claims.iat && claims.exp - claims.iat <= LONGEST;
    if !short_lived || claims.iat > now + SKEW || claims.exp <= now {
        return Err(refuse("invalid_grant", "the JWT must be of now and last an hour at most"));
    }
    Ok(())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since: Duration| since.as_secs())
}
