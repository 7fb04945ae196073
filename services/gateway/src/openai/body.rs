//! Reads a body, up to a limit.

use axum::body::{Body, Bytes};
use embermesh_errors::{Code, Error};
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// The whole body. One that says that it is too long is refused before it is read.
pub(super) async fn read(headers: &HeaderMap, body: Body, max_bytes: usize) -> Result<Bytes, Error> {
    let too_large = || {
        Error::new(Code::TooLarge, format!("the body is larger than {max_bytes} bytes, send fewer texts at a time"))
            .with_detail("max_bytes", max_bytes)
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_bytes as u64) {
        return Err(too_large());
    }
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Error::new(Code::Invalid, "the body broke off before its end")),
    }
}
