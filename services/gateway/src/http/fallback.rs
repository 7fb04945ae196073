//! Requests that no route takes.

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use embermesh_errors::{Code, Error};
use http::{HeaderMap, header::CONTENT_TYPE};

use super::Failure;

/// No such path, in HTTP or gRPC.
pub(crate) async fn no_such_route(request: Request) -> Response {
    let error = if is_grpc(request.headers()) {
        Error::new(Code::NotImplemented, "no such method, reflection lists them")
    } else {
        unknown_route()
    };
    Failure(error).into_response()
}

/// The path exists, the method does not. The header `Allow` is axum's.
pub(crate) async fn no_such_method() -> Failure {
    Failure(unknown_method())
}

pub(super) fn unknown_route() -> Error {
    Error::not_found("no such route, GET /openapi.json lists them")
}

pub(super) fn unknown_method() -> Error {
    let message = "the route does not take this method, the header Allow lists those it takes";
    Error::new(Code::MethodNotAllowed, message)
}

/// Whether a request is a gRPC call.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    kind.and_then(|kind| kind.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]))
}
