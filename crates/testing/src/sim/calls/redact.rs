//! Credentials do not get into the log.

use std::collections::BTreeMap;

use http::HeaderMap;

/// Headers of the connection or of the client's library, of which no API's documentation speaks.
const DULL: [&str; 6] =
    ["host", "content-length", "connection", "accept-encoding", "transfer-encoding", "date"];
/// Headers that are a credential.
const SECRET: [&str; 5] = ["authorization", "api-key", "x-api-key", "x-goog-api-key", "x-amz-security-token"];

pub(super) fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .filter(|(name, _)| !DULL.contains(&name.as_str()))
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let value = if SECRET.contains(&name.as_str()) { scheme(&value) } else { value };
            (name.as_str().to_owned(), value)
        })
        .collect()
}

/// `Bearer …` for `Bearer abc`, and `…` for a bare key.
fn scheme(credential: &str) -> String {
    match credential.split_once(' ') {
        Some((scheme, _)) => format!("{scheme} …"),
        None => "…".to_owned(),
    }
}

pub(super) fn query(query: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name @ ("key" | "access_token" | "X-Amz-Signature" | "X-Amz-Security-Token"), _)) => {
            format!("{name}=…")
        }
        _ => pair.to_owned(),
    };
    query.split('&').map(pair).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn credentials_are_replaced_and_the_rest_is_kept() {
        let sent = [
            ("authorization", "Bearer sk-secret"),
            ("api-key", "sk-secret"),
            ("x-goog-api-key", "sk-secret"),
            ("x-embermesh-attempt", "7"),
            ("host", "localhost"),
        ];
        let sent = sent.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let kept = headers(&HeaderMap::from_iter(sent));
        assert!(!format!("{kept:?}").contains("secret"));
        assert_eq!(kept["authorization"], "Bearer …");
        assert_eq!(kept["x-embermesh-attempt"], "7");
        assert!(!kept.contains_key("host"));
        assert_eq!(query("api-version=2024-10-21&key=secret"), "api-version=2024-10-21&key=…");
    }
}
