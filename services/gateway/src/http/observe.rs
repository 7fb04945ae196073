//! Around every request: its id, its deadline, what is counted and logged, and the last word on how a failure looks.

use std::{
    borrow::Cow,
    panic::AssertUnwindSafe,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use embermesh_errors::{Code, Error};
use embermesh_telemetry::{Span, within};
use embermesh_types::RequestId;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tonic::Status;
use uuid::Uuid;

use super::{Arrival, Failure, failure, is_grpc};
use crate::{
    api_calls::{self, Endpoint},
    edge::{App, AppState},
};

/// The header that names a request, in both directions.
const REQUEST_ID: &str = "x-request-id";

/// Middleware around all routes.
pub(crate) async fn observe_route(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let endpoint = Endpoint::of(request.uri(), request.extensions().get());
    let serve = |mut request: Request, arrival| {
        request.extensions_mut().insert::<Arrival>(arrival);
        next.run(request)
    };
    observe(&app, request, endpoint, serve).await
}

/// Has a request served, and sees to all around it.
pub(crate) async fn observe<F: Future<Output = Response>>(
    app: &App,
    request: Request,
    endpoint: Endpoint,
    serve: impl FnOnce(Request, Arrival) -> F,
) -> Response {
    let started = Instant::now();
    let deadline = started + app.request_timeout;
    let now = app.clock.now();
    let request_id = request_id(request.headers(), now);
    let method = request.method().clone();
    let call = app.api_calls.begin(now, &method, &endpoint);
    let grpc = is_grpc(request.headers());
    let arrival = Arrival { request_id: request_id.clone(), deadline };

    let mut span =
        Span::arriving(request.headers(), || Cow::Owned(format!("{method} {}", endpoint.as_str())));

    // the handler may panic before it is a future
    let answer = async { serve(request, arrival).await };
    let answer = within(span.trace(), api_calls::within(call.clone(), answer));
    let answer = AssertUnwindSafe(answer).catch_unwind();
    let mut response = match tokio::time::timeout_at(deadline.into(), answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!(%request_id, "a handler panicked; the backtrace is above");
            Failure(Error::internal("the request met a defect, report its request id")).into_response()
        }
        Err(_) => Failure(Error::new(Code::DeadlineExceeded, "the deadline of the request has passed"))
            .into_response(),
    };

    let status = if grpc {
        if let Some(error) = response.extensions_mut().remove::<Error>() {
            response = Status::from(error).into_http();
        }
        grpc_status(&response)
    } else {
        failure::render(&mut response, &request_id, &method);
        response.status()
    };
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    span.set("http.response.status_code", i64::from(status.as_u16()));
    span.set("embermesh.request_id", request_id.to_string());
    if status.is_server_error() {
        span.fail(status.as_str().to_owned());
    }
    call.warn(response.headers_mut());
    call.ended(status);
    let path = endpoint.as_str();
    let took = started.elapsed();
    app.metrics.record(&method, path, status, took);
    if let Some(trace) = span.trace() {
        app.metrics.show(&method, path, took, &trace, app.clock.now());
    }
    if let Some(at_providers) = call.at_providers() {
        app.metrics.record_overhead(took, at_providers);
    }
    log(&request_id, &method, path, status, took);
    response
}

fn log(request_id: &RequestId, method: &Method, path: &str, status: StatusCode, took: Duration) {
    tracing::debug!(%request_id, %method, path, status = status.as_u16(), took_us = took.as_micros() as u64, "request");
}

/// The client's own id if it is one, else a new one.
fn request_id(headers: &HeaderMap, now: SystemTime) -> RequestId {
    let given =
        headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = uuid::Timestamp::from_unix(uuid::NoContext, since.as_secs(), since.subsec_nanos());
        Uuid::new_v7(time).into()
    })
}

/// The HTTP status that a gRPC answer would have had.
fn grpc_status(response: &Response) -> StatusCode {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != tonic::Code::Ok => Error::from(&status).code.http(),
        _ => response.status(),
    }
}
