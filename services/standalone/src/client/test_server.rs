//! A real HTTP server for tests that answers what it is told to and remembers what it was asked.

use std::{
    convert::Infallible,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{Client, Connection, Patience};

/// What a client sent.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: serde_json::Value,
}

/// What was asked so far.
pub(crate) type Log = Arc<Mutex<Vec<Asked>>>;

/// Runs `work` with a client of a server that answers by `answer`, which gets the number of earlier requests. `None` breaks
/// the connection instead.
pub(crate) async fn with_server<T, W: Future<Output = T>>(
    patience: Patience,
    answer: impl Fn(usize, &Asked) -> Option<Response<Full<Bytes>>>,
    work: impl FnOnce(Client, Log) -> W,
) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let log = Log::default();
    let seen = log.clone();
    let answer = &answer;
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            // what is got has no body
            let body = if body.is_empty() { b"null".as_slice().into() } else { body };
            let body = serde_json::from_slice(&body).unwrap();
            let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default().to_owned());
            let asked = Asked { path, query, headers: head.headers, body };
            let earlier = {
                let mut seen = seen.lock().unwrap();
                seen.push(asked.clone());
                seen.len() - 1
            };
            answer(earlier, &asked).ok_or("told to break")
        }
    });
    let client = Client::new(&Connection { url, key: "test-key".into() }, patience).unwrap();
    let serve = async {
        let mut connections = futures::stream::FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let socket = TokioIo::new(accepted.unwrap().0);
                    connections.push(http1::Builder::new().serve_connection(socket, service.clone()));
                }
                Some(_) = futures::StreamExt::next(&mut connections) => {}
            }
        }
    };
    let serve = pin!(async {
        let never: Infallible = serve.await;
        match never {}
    });
    match futures::future::select(pin!(work(client, log)), serve).await {
        futures::future::Either::Left((done, _)) => done,
        futures::future::Either::Right((never, _)) => never,
    }
}

/// An answer with a status and a JSON body.
pub(crate) fn json(status: u16, body: &serde_json::Value) -> Option<Response<Full<Bytes>>> {
    Some(Response::builder().status(status).body(Full::new(Bytes::from(body.to_string()))).unwrap())
}
