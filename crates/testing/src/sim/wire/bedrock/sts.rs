//! STS, as far as a role is taken on: `POST /` with `Action=AssumeRole`, answered in XML.
//!
//! There is no policy to configure; the role's name says it. `…/forbidden…` trusts nobody, `…/for-<id>` demands `ExternalId=<id>`,
//! any other role trusts whoever signs well.

use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use jiff::Timestamp;

use super::super::super::deployment::Deployment;
use super::super::super::sigv4::{self, Session, SignatureError};
use super::super::{Refusal, Written};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const VERSION: &str = "2011-06-15";
const ANSWERED: &str = "00000000-0000-4000-8000-000000000000";

pub(super) fn answer(deployment: &Deployment, head: &Parts, body: &[u8]) -> Result<Written, Refusal> {
    if let Some(keys) = &deployment.spec().aws {
        sigv4::verify(keys, &deployment.sessions, "sts", head, body).map_err(of_signature)?;
    }
    let form: HashMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if (field("Action"), field("Version")) != ("AssumeRole", VERSION) {
        return Err(refusal(StatusCode::BAD_REQUEST, "InvalidAction", "Could not find that operation"));
    }
    let invalid = |what: &str| refusal(StatusCode::BAD_REQUEST, "ValidationError", what);
    let (role, session) = (field("RoleArn"), field("RoleSessionName"));
    let name = role_name(role).ok_or_else(|| invalid(&format!("{role} is invalid")))?;
    if !(2..=64).contains(&session.len()) {
        return Err(invalid("RoleSessionName must have 2 to 64 characters"));
    }
    let seconds: u64 = match field("DurationSeconds") {
        "" => 3600,
        given => given
            .parse()
            .ok()
            .filter(|seconds| (900..=43_200).contains(seconds))
            .ok_or_else(|| invalid("DurationSeconds must be 900 to 43200"))?,
    };
    let trusts = match name.strip_prefix("for-") {
        Some(id) => field("ExternalId") == id,
        None => !name.starts_with("forbidden"),
    };
    if !trusts {
        let message = format!("Not authorized to perform: sts:AssumeRole on resource: {role}");
        return Err(refusal(StatusCode::FORBIDDEN, "AccessDenied", &message));
    }
    let keys = deployment.sessions.open(role, Duration::from_secs(seconds));
    Ok(xml(&assumed(role, name, session, &keys)))
}

/// `arn:aws:iam::<account>:role/[path/]<name>`.
fn role_name(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let known = [Some("arn"), Some("aws"), Some("iam"), Some("")];
    if known.iter().any(|expected| parts.next() != *expected) || parts.next()?.is_empty() {
        return None;
    }
    let name = parts.next()?.strip_prefix("role/")?.rsplit('/').next()?;
    (!name.is_empty()).then_some(name)
}

fn assumed(role: &str, name: &str, session: &str, keys: &Session) -> String {
    let account = role.split(':').nth(4).unwrap_or_default();
    let expires = Timestamp::try_from(keys.expires).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ");
    let arn = escape(&format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"));
    let Session { access_key_id, secret_access_key, session_token, .. } = keys;
    let session = escape(session);
    format!(
        "<AssumeRoleResponse xmlns=\"{NAMESPACE}\"><AssumeRoleResult>\
         <AssumedRoleUser><AssumedRoleId>AROASIMULATED:{session}</AssumedRoleId><Arn>{arn}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{access_key_id}</AccessKeyId>\
         <SecretAccessKey>{secret_access_key}</SecretAccessKey>\
         <SessionToken>{session_token}</SessionToken><Expiration>{expires}</Expiration></Credentials>\
         </AssumeRoleResult><ResponseMetadata><RequestId>{ANSWERED}</RequestId></ResponseMetadata>\
         </AssumeRoleResponse>"
    )
}

fn of_signature(wrong: SignatureError) -> Refusal {
    let forbidden = |code, message: &str| refusal(StatusCode::FORBIDDEN, code, message);
    match wrong {
        SignatureError::Missing => {
            forbidden("MissingAuthenticationToken", "Request is missing Authentication Token")
        }
        SignatureError::Incomplete(what) => refusal(StatusCode::BAD_REQUEST, "IncompleteSignature", &what),
        SignatureError::UnknownKey => {
            forbidden("InvalidClientTokenId", "The security token included in the request is invalid.")
        }
        SignatureError::Expired => {
            forbidden("ExpiredToken", "The security token included in the request is expired")
        }
        SignatureError::Skewed(what) | SignatureError::Scope(what) => {
            forbidden("SignatureDoesNotMatch", &what)
        }
        SignatureError::Mismatch => forbidden(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        ),
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Refusal {
    let message = escape(message);
    let body = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>{ANSWERED}</RequestId></ErrorResponse>"
    );
    Refusal { status, written: xml(&body) }
}

fn xml(body: &str) -> Written {
    Written::of("text/xml", body.as_bytes().to_vec()).header("x-amzn-requestid", ANSWERED)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
