//! REST: typed routes made from the annotations of the contracts, and how an answer becomes JSON.

pub(crate) mod query;
mod report_form;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::{delete, get, patch, post, put},
};
use embermesh_errors::Error;
use embermesh_proto::v1;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use report_form::ReportForm;
use serde::Serialize;
use tonic::Status;

use crate::{
    authorise::*,
    edge::AppState,
    http::{Failure, Incoming},
};

include!(concat!(env!("OUT_DIR"), "/routes.rs"));

/// What headers of an answer's own begin with.
const PREFIX: &str = "x-embermesh-";

/// A service's answer as JSON, its own metadata as headers.
fn answer<T: Serialize + prost::Message>(
    status: StatusCode,
    answer: Result<tonic::Response<T>, Status>,
) -> Result<Response, Failure> {
    let (metadata, message, _) = answer?.into_parts();
    // text is about three times the size of the binary form
    let mut body = Vec::with_capacity(message.encoded_len().saturating_mul(3) + 256);
    serde_json::to_writer(&mut body, &message).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        Error::internal("the answer cannot be written as JSON, report its request id")
    })?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in metadata.into_headers() {
        if let Some(name) = name.filter(|name| name.as_str().starts_with(PREFIX)) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}
