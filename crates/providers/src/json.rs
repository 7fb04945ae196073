//! Calls that are JSON both ways: one `POST` to one place with one credential.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::Full;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Failure, ProviderCall, ProviderError,
    http::{Classify, HttpClient},
};

/// Carries [`ProviderCall::attempt`].
pub(crate) const ATTEMPT: HeaderName = HeaderName::from_static("x-embermesh-attempt");

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
        let body = serde_json::to_vec(body).map_err(|e| unsendable(&e))?;
        let mut request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(ATTEMPT, call.attempt.to_string());
        if let Some((name, value)) = &self.credential {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| unsendable(&e))?;
        parse(self.client.send(request, call.timeout, self.classify).await?.body, self.name).await
    }
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
