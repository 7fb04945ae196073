//! An OpenAI-compatible embedding provider that answers at once from memory, on the driver's thread.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::answers::{Answers, MODEL};
use crate::scan::{Shape, scan};
use crate::serve::serve;

/// Answers until the process is ended.
///
/// # Errors
/// When no connection can be accepted any more.
pub async fn answer_all(listener: TcpListener) -> io::Result<()> {
    let answers = Arc::new(Answers::default());
    for inputs in [1, 32] {
        for base64 in [false, true] {
            answers.get(Shape { inputs, base64, dims: None });
        }
    }
    serve(listener, move |request| answer(Arc::clone(&answers), request)).await
}

async fn answer(
    answers: Arc<Answers>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let (status, body) = match (&head.method, head.uri.path().rsplit('/').next()) {
        (&Method::POST, Some("embeddings")) => {
            match body.collect().await.map(|body| scan(&body.to_bytes())) {
                Ok(Some(shape)) => (StatusCode::OK, answers.get(shape)),
                _ => (StatusCode::BAD_REQUEST, refusal("not an embedding request")),
            }
        }
        (&Method::GET, Some("models")) => {
            let card = format!(r#"{{"id":"{MODEL}","object":"model","created":0,"owned_by":"bench"}}"#);
            (StatusCode::OK, format!(r#"{{"object":"list","data":[{card}]}}"#).into())
        }
        _ => (StatusCode::NOT_FOUND, refusal("no such route")),
    };
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}

fn refusal(message: &str) -> Bytes {
    format!(
        r#"{{"error":{{"message":"{message}","type":"invalid_request_error","param":null,"code":null}}}}"#
    )
    .into()
}
