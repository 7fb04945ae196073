//! An OpenAI-compatible embedding provider that answers at once from memory.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use embermesh_bench::answers::{Answers, MODEL};
use embermesh_bench::scan::{Shape, scan};
use embermesh_bench::serve::serve;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An OpenAI-compatible embedding provider that answers at once; prints its address on stdout.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let answers = Arc::new(Answers::default());
    for inputs in [1, 32] {
        for base64 in [false, true] {
            answers.get(Shape { inputs, base64, dims: None });
        }
    }
    serve(arguments.listen, move |request| answer(Arc::clone(&answers), request)).await
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
