//! An error as this protocol's clients read it.

use axum::response::Response;
use embermesh_errors::Error;
use http::{
    HeaderValue,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

/// The one error shape, with the status that belongs to its code.
pub(super) fn response(error: &Error, request_id: &str) -> Response {
    let body = serde_json::to_vec(&error.envelope(request_id)).unwrap_or_default();
    let mut response = Response::new(body.into());
    *response.status_mut() = error.code.http();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(after) = error.retry_after {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}
