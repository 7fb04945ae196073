//! Which bodies are taken for JSON.

use embermesh_errors::Error;
use http::{HeaderMap, header::CONTENT_TYPE};

/// Longest part of a client's own words in an error.
const MAX_QUOTED: usize = 100;

/// Refuses a body that says that it is something else. One that says nothing is taken for JSON.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Error> {
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let mut parts = given.to_str().unwrap_or_default().split(';').map(str::trim);
    let json = parts.next().is_some_and(is_json);
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if json && utf8 {
        return Ok(());
    }
    let given: String = given.to_str().unwrap_or("unreadable").chars().take(MAX_QUOTED).collect();
    let message = format!("send JSON in UTF-8 with the header Content-Type: application/json, not {given}");
    Err(Error::invalid("Content-Type", message))
}

fn is_json(kind: &str) -> bool {
    // `curl -d` says form unless told otherwise, and people's curl lines do not tell it. It opens no door to forms of other sites:
    // a browser does not send keys along by itself
    ["application/json", "application/x-www-form-urlencoded"]
        .iter()
        .any(|taken| kind.eq_ignore_ascii_case(taken))
}
