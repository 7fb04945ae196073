//! Reads a body, up to a limit.

use std::time::Duration;

use axum::body::{Body, Bytes};
use embermesh_errors::{Code, Error};
use http::{HeaderMap, header::EXPECT};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// How long the rest of a refused body is read and thrown away.
const DISCARD_FOR: Duration = Duration::from_secs(10);

/// The whole body, or `too_large`. One that says that it is too long is not kept at all.
pub(super) async fn read(headers: &HeaderMap, mut body: Body, max_bytes: usize) -> Result<Bytes, Error> {
    let announced = body.size_hint().lower();
    if announced <= max_bytes as u64 {
        match Limited::new(&mut body, max_bytes).collect().await {
            Ok(collected) => return Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {}
            Err(_) => return Err(Error::new(Code::Invalid, "the body broke off before its end")),
        }
    }
    // who asked to be told first has sent nothing yet
    if !headers.contains_key(EXPECT) {
        discard(body).await;
    }
    let message = format!("the body is larger than {max_bytes} bytes, send fewer texts at a time");
    Err(Error::new(Code::TooLarge, message).with_detail("max_bytes", max_bytes))
}

/// A client that still sends when the connection closes may never read why it was refused.
async fn discard(mut body: Body) {
    let drained = async { while let Some(Ok(_)) = body.frame().await {} };
    // whoever is still sending then will find the connection closed
    let _ = tokio::time::timeout(DISCARD_FOR, drained).await;
}
