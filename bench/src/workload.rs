//! The eight cases and the requests that make them up.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

/// Length of the part of each text that makes it unique.
const ID_LENGTH: usize = 16;
/// The rest of each text; about 75 tokens with the id.
const TEXT: &str = "The relay keeps a short queue for each of the agents it serves, and a worker takes from the front of it \
    whenever a slot comes free. When the queue is longer than the limit that was set for that agent, new work is \
    turned away with a hint of how long to wait, so that one busy agent never slows down the others beside it.";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Texts per request.
    pub inputs: usize,
    /// Encoding asked for.
    pub base64: bool,
    /// The same few requests again and again, instead of new texts in every request.
    pub hit: bool,
}

impl Case {
    /// {1, 32 inputs} × {float, base64} × {miss, hit}.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut cases = Vec::with_capacity(8);
        for inputs in [1, 32] {
            for base64 in [false, true] {
                for hit in [false, true] {
                    cases.push(Self { inputs, base64, hit });
                }
            }
        }
        cases
    }

    /// `1 float miss` and the like.
    #[must_use]
    pub fn name(self) -> String {
        let encoding = if self.base64 { "base64" } else { "float" };
        format!("{} {encoding} {}", self.inputs, if self.hit { "hit" } else { "miss" })
    }
}

/// Numbers that no other text of this run or an earlier one carries.
#[derive(Debug)]
pub struct Ids(AtomicU64);

impl Ids {
    /// Starts somewhere of its own, so that a target that keeps its cache over runs sees new texts.
    #[must_use]
    pub fn new() -> Self {
        let seed = RandomState::new().hash_one("bench");
        Self(AtomicU64::new(seed << 32))
    }

    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::new()
    }
}

/// Where and how to send requests.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `host:port`.
    pub authority: String,
    /// Path of the embeddings route.
    pub path: String,
    /// Bearer key.
    pub api_key: Option<String>,
    /// Model to name in the request.
    pub model: String,
}

/// A whole HTTP request whose texts can be made new in place, which costs the driver next to nothing.
#[derive(Clone, Debug)]
pub struct Request {
    bytes: Vec<u8>,
    ids_at: Vec<usize>,
}

impl Request {
    /// A request of this case with new texts.
    #[must_use]
    pub fn new(endpoint: &Endpoint, case: Case, ids: &Ids) -> Self {
        let placeholder = "#".repeat(ID_LENGTH);
        let text = format!("{placeholder} {TEXT}");
        let input = if case.inputs == 1 { json!(text) } else { json!(vec![text; case.inputs]) };
        let body = json!({
            "model": endpoint.model,
            "input": input,
            "encoding_format": if case.base64 { "base64" } else { "float" },
        })
        .to_string();
        let Endpoint { authority, path, api_key, .. } = endpoint;
        let authorization =
            api_key.as_ref().map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let bytes = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\n{authorization}accept: application/json\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes();
        let ids_at = memchr::memmem::find_iter(&bytes, placeholder.as_bytes()).collect();
        let mut request = Self { bytes, ids_at };
        request.renew(ids);
        request
    }

    /// Gives every text a new id. Letters only: digits in a row could pass for a phone or card number.
    pub fn renew(&mut self, ids: &Ids) {
        for &at in &self.ids_at {
            let mut id = ids.next();
            for byte in &mut self.bytes[at..at + ID_LENGTH] {
                *byte = b'a' + (id & 15) as u8;
                id >>= 4;
            }
        }
    }

    /// The bytes to send.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            authority: "localhost:1".to_owned(),
            path: "/v1/embeddings".to_owned(),
            api_key: Some("k".to_owned()),
            model: "m".to_owned(),
        }
    }

    fn texts(request: &Request) -> Vec<String> {
        let text = std::str::from_utf8(request.bytes()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        match serde_json::from_str::<Value>(body).unwrap()["input"].take() {
            Value::String(text) => vec![text],
            other => serde_json::from_value(other).unwrap(),
        }
    }

    #[test]
    fn every_text_of_every_renewal_is_new_and_has_no_digits() {
        let ids = Ids::new();
        let mut seen = HashSet::new();
        for case in Case::all() {
            let mut request = Request::new(&endpoint(), case, &ids);
            for _ in 0..20 {
                for text in texts(&request) {
                    assert!(!text.contains(|c: char| c.is_ascii_digit() || c == '#'));
                    assert!(seen.insert(text));
                }
                request.renew(&ids);
            }
        }
        assert_eq!(seen.len(), 20 * 4 * (1 + 32));
    }

    #[test]
    fn a_text_has_about_75_tokens() {
        let request = Request::new(&endpoint(), Case { inputs: 1, base64: false, hit: false }, &Ids::new());
        let tokens = embermesh_testing::sim::count_tokens(&texts(&request)[0]);
        assert!((65..=85).contains(&tokens), "{tokens}");
    }

    #[test]
    fn there_are_eight_cases_with_names_of_their_own() {
        let names: HashSet<String> = Case::all().into_iter().map(Case::name).collect();
        assert_eq!(names.len(), 8);
        assert!(names.contains("32 base64 hit"));
    }
}
