//! The one error shape, from wherever an error comes.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use embermesh_errors::{Code, Error};
use embermesh_types::RequestId;
use http::{
    HeaderValue, Method,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use tonic::Status;

use super::fallback;

/// An error on its way out. Handlers answer with it; its body is written by [`render`] where the request id is known.
#[derive(Debug)]
pub(crate) struct Failure(pub Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self(status.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.0.code.http().into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

/// Gives a failed answer its body and headers. Answers of libraries, which have a text of their own or none, become ours too.
pub(super) fn render(response: &mut Response, request_id: &RequestId, method: &Method) {
    let Some(error) = response.extensions_mut().remove::<Error>().or_else(|| foreign(response)) else {
        return;
    };
    let body = serde_json::to_vec(&error.envelope(request_id.as_str())).unwrap_or_default();
    *response.status_mut() = error.code.http();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Some(after) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1000) as u64));
    }
    if error.code == Code::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"embermesh\""));
    }
    *response.body_mut() = if method == Method::HEAD { Body::empty() } else { body.into() };
}

/// What a library's refusal is in our words.
fn foreign(response: &Response) -> Option<Error> {
    let status = response.status();
    let json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if json || !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    Some(match status.as_u16() {
        404 => fallback::unknown_route(),
        405 => fallback::unknown_method(),
        413 => Error::new(Code::TooLarge, "the request is too large"),
        503 => Error::unavailable("the service cannot answer now, try again"),
        400..500 => Error::new(Code::Invalid, "the request is malformed"),
        _ => Error::internal("the request met a defect, report its request id"),
    })
}
