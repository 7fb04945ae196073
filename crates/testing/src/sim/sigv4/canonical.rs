//! The canonical request: the one text that both sides make of a request and sign.

use http::HeaderMap;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::hex;

/// Everything but RFC 3986's unreserved characters.
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Of a request with these headers signed, or why they do not do.
pub(super) fn request(head: &Parts, body: &[u8], signed: &[&str]) -> Result<String, String> {
    let payload = hex(&Sha256::digest(body));
    let declared = head.headers.get("x-amz-content-sha256");
    if declared.is_some_and(|declared| declared.as_bytes() != payload.as_bytes()) {
        return Err("x-amz-content-sha256 is not the body's hash".to_owned());
    }
    let headers = headers(&head.headers, signed)?;
    let path = path(head.uri.path());
    let query = query(head.uri.query().unwrap_or_default());
    let signed = signed.join(";");
    Ok(format!("{}\n{path}\n{query}\n{headers}\n{signed}\n{payload}", head.method))
}

/// Each segment as it was sent, encoded once more: what every service but S3 does.
fn path(sent: &str) -> String {
    let segments: Vec<String> =
        sent.split('/').map(|segment| utf8_percent_encode(segment, &RESERVED).to_string()).collect();
    segments.join("/")
}

fn query(sent: &str) -> String {
    let mut pairs: Vec<String> = sent
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn headers(all: &HeaderMap, signed: &[&str]) -> Result<String, String> {
    if !signed.is_sorted() {
        return Err("signed headers must be sorted".to_owned());
    }
    let must = |name: &&str| *name == "host" || name.starts_with("x-amz-");
    if let Some(unsigned) =
        all.keys().map(|name| name.as_str()).filter(must).find(|name| !signed.contains(name))
    {
        return Err(format!("header {unsigned} must be signed"));
    }
    let mut lines = String::new();
    for name in signed {
        let values: Vec<String> = all.get_all(*name).iter().map(|value| trimmed(value.as_bytes())).collect();
        if values.is_empty() {
            return Err(format!("signed header {name} is not there"));
        }
        lines.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    Ok(lines)
}

/// Without spaces around it, and no two in a row.
fn trimmed(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    let words: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ")
}
