//! Reading a body within its limit.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use futures::StreamExt;
use http::{HeaderMap, header::EXPECT};
use http_body_util::BodyExt;

use super::content_type;

/// Memory taken for a body before any of it has come.
const MAX_RESERVED: usize = 1024 * 1024;
/// How long the rest of a refused body is read and thrown away.
const DISCARD_FOR: Duration = Duration::from_secs(10);

/// A body that should be JSON; or nothing, whatever type that has.
pub(crate) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    tasks: &Tasks,
) -> Result<Bytes, Error> {
    let bytes = read(headers, body, limit, tasks).await?;
    if !bytes.is_empty() {
        content_type::check(headers)?;
    }
    Ok(bytes)
}

/// The whole body, or `too_large` as soon as that is known: from its declared length, else at the first byte over the limit.
async fn read(headers: &HeaderMap, body: Body, limit: usize, tasks: &Tasks) -> Result<Bytes, Error> {
    let declared = usize::try_from(http_body::Body::size_hint(&body).lower()).unwrap_or(usize::MAX);
    if declared > limit {
        discard(headers, body, tasks);
        return Err(too_large(limit));
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut data = body.into_data_stream();
    while let Some(chunk) = data.next().await {
        let chunk = chunk.map_err(|error| {
            tracing::debug!(%error, "a body broke off");
            Error::new(Code::Invalid, "the body broke off or is not well-formed HTTP")
        })?;
        if first.len() + rest.len() + chunk.len() > limit {
            discard(headers, Body::from_stream(data), tasks);
            return Err(too_large(limit));
        }
        if first.is_empty() && rest.is_empty() {
            first = chunk;
            continue;
        }
        if rest.is_empty() {
            let least = first.len() + chunk.len();
            rest.reserve(declared.clamp(least, MAX_RESERVED.max(least)));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&chunk);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Reads on beside the answer: a client that still sends when the connection closes may never see why it was refused.
fn discard(headers: &HeaderMap, body: Body, tasks: &Tasks) {
    // such a client waits for the answer before it sends anything
    if headers.contains_key(EXPECT) {
        return;
    }
    tasks.spawn("discard a body", async move {
        let mut body = body;
        let drained = async { while let Some(Ok(_)) = body.frame().await {} };
        // whoever is still sending then will find the connection closed
        let _ = tokio::time::timeout(DISCARD_FOR, drained).await;
    });
}

fn too_large(limit: usize) -> Error {
    Error::new(Code::TooLarge, format!("the body is over the limit of {limit} bytes, send less at a time"))
        .with_detail("max_bytes", limit)
}
