//! The caller's identity as metadata. Set by the gateway from the credential; a client's own copies are stripped there.

use embermesh_auth::{Principal, Scopes};
use embermesh_types::RequestId;
use http::{HeaderMap, HeaderName, HeaderValue};

const TENANT: HeaderName = HeaderName::from_static("x-embermesh-tenant");
const KEY: HeaderName = HeaderName::from_static("x-embermesh-key");
const AGENT: HeaderName = HeaderName::from_static("x-embermesh-agent");
const SCOPES: HeaderName = HeaderName::from_static("x-embermesh-scopes");
/// Shared with the public API.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// What the system's own headers begin with.
const PREFIX: &str = "x-embermesh-";

/// Removes every header that only Embermesh may set.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let own = |name: &&HeaderName| name.as_str().starts_with(PREFIX);
    for name in headers.keys().filter(own).cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Replaces whatever identity the headers claim.
pub(crate) fn set(headers: &mut HeaderMap, principal: &Principal, request_id: &RequestId) {
    insert(headers, TENANT, &principal.tenant.to_string());
    insert(headers, KEY, principal.key.as_str());
    insert(headers, SCOPES, &principal.scopes.to_string());
    match &principal.agent {
        Some(agent) => insert(headers, AGENT, agent.as_str()),
        None => drop(headers.remove(AGENT)),
    }
    insert(headers, HeaderName::from_static(REQUEST_ID), request_id.as_str());
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // ids are ASCII by construction
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

pub(crate) fn read(headers: &HeaderMap) -> Option<Principal> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Some(Principal {
        tenant: text(TENANT)?.parse().ok()?,
        key: text(KEY)?.parse().ok()?,
        agent: text(AGENT).map(str::parse).transpose().ok()?,
        scopes: Scopes::parse(text(SCOPES)?.split(',').filter(|name| !name.is_empty())).ok()?,
    })
}

pub(crate) fn read_request_id(headers: &HeaderMap) -> Option<RequestId> {
    headers.get(REQUEST_ID)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_metadata_and_replaces_a_claimed_one() {
        let principal = Principal {
            tenant: "0192d5a0-0000-7000-8000-000000000001".parse().unwrap(),
            key: "abc".parse().unwrap(),
            agent: None,
            scopes: Scopes::parse(["embed", "read"]).unwrap(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(TENANT, HeaderValue::from_static("0192d5a0-0000-7000-8000-00000000dead"));
        headers.insert(AGENT, HeaderValue::from_static("somebody-else"));
        set(&mut headers, &principal, &"r-1".parse().unwrap());
        assert_eq!(read(&headers), Some(principal));
        assert_eq!(read_request_id(&headers).unwrap().as_str(), "r-1");
        headers.insert(SCOPES, HeaderValue::from_static("root"));
        assert_eq!(read(&headers), None);
    }

    #[test]
    fn every_header_of_our_own_is_stripped_and_no_other() {
        let mut headers = HeaderMap::new();
        for name in ["x-embermesh-tenant", "x-embermesh-anything", "x-request-id", "te"] {
            headers.append(name, HeaderValue::from_static("1"));
            headers.append(name, HeaderValue::from_static("2"));
        }
        strip(&mut headers);
        let mut kept: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["te", "x-request-id"]);
    }
}
