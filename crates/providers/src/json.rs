//! Calls that are JSON both ways: one `POST` to one place with one credential.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Failure, ProviderCall, ProviderError,
    http::{Classify, HttpClient},
};

/// Carries [`ProviderCall::attempt`].
pub(crate) const ATTEMPT: HeaderName = HeaderName::from_static("x-embermesh-attempt");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Room for those of a call: ours, the host and the length.
const HEADERS: usize = 8;

/// Above this, parsing takes long enough (about a millisecond) to hold up the thread's other calls.
const PARSED_IN_PLACE: usize = 1024 * 1024;

/// An API of this kind, with its credential.
#[derive(Debug)]
pub(crate) struct JsonApi {
    pub client: HttpClient,
    /// For people.
    pub name: &'static str,
    /// Marked as sensitive, so that no debug output shows it.
    pub credential: Option<(HeaderName, HeaderValue)>,
    /// What its unsuccessful answers mean.
    pub classify: Classify,
}

impl JsonApi {
    /// Makes `call`, which in the API's own form is `body`.
    pub async fn post<A: DeserializeOwned + Send + 'static>(
        &self,
        url: Uri,
        call: &ProviderCall,
        body: &(impl Serialize + Sync),
    ) -> Result<A, ProviderError> {
        let json = serde_json::to_vec(body).map_err(|e| unsendable(&e))?;
        self.send(url, call, json).await
    }

    /// Makes `call`, which in the API's own form is `json`.
    pub async fn send<A: DeserializeOwned + Send + 'static>(
        &self,
        url: Uri,
        call: &ProviderCall,
        json: Vec<u8>,
    ) -> Result<A, ProviderError> {
        let mut request = Request::new(Full::new(Bytes::from(json)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url;
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, JSON);
        let attempt = HeaderValue::from_str(&call.attempt.text());
        headers.insert(ATTEMPT, attempt.map_err(|e| unsendable(&e))?);
        if let Some((name, value)) = &self.credential {
            headers.insert(name, value.clone());
        }
        *request.headers_mut() = headers;
        parse(self.client.send(request, call.timeout, self.classify).await?.body, self.name).await
    }
}

/// Appends a text as a JSON string. Most hold nothing to escape, and to see that takes a tenth of writing byte by byte.
pub(crate) fn push_text(json: &mut Vec<u8>, text: &str) {
    let escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // without a way out of the loop, so that it vectorises
    if text.bytes().fold(false, |any, byte| any | escaped(byte)) {
        // writing to a vector cannot fail
        let _ = serde_json::to_writer(json, text);
        return;
    }
    json.push(b'"');
    json.extend_from_slice(text.as_bytes());
    json.push(b'"');
}

/// Reads the answer of the API called `name`.
pub(crate) async fn parse<A: DeserializeOwned + Send + 'static>(
    answer: Bytes,
    name: &'static str,
) -> Result<A, ProviderError> {
    let parsed = if answer.len() <= PARSED_IN_PLACE {
        serde_json::from_slice(&answer)
    } else {
        let parsing = tokio::task::spawn_blocking(move || serde_json::from_slice(&answer));
        parsing.await.map_err(|e| ProviderError::bad_answer(format!("the answer cannot be parsed: {e}")))?
    };
    parsed.map_err(|error| {
        // a place and no quotation: the answer may repeat the input
        let (line, column) = (error.line(), error.column());
        ProviderError::bad_answer(format!("the answer is not {name}'s form (line {line} column {column})"))
    })
}

pub(crate) fn unsendable(error: &dyn std::fmt::Display) -> ProviderError {
    ProviderError::new(Failure::Local, format!("cannot build the request: {error}"))
}
