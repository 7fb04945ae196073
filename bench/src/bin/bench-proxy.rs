//! The floor: a proxy on the same HTTP library as the product that forwards bodies as they come and looks at nothing.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use clap::Parser;
use embermesh_bench::serve::serve;
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A proxy that forwards bytes over kept-alive connections; prints its address on stdout.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Host and port to forward to
    #[arg(long)]
    upstream: Authority,
}

type Upstream = Client<HttpConnector, Incoming>;
type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream = Client::builder(TokioExecutor::new()).build(connector);
    let upstream = arguments.upstream;
    let listener = TcpListener::bind(arguments.listen).await?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", listener.local_addr()?)?;
    stdout.flush()?;
    serve(listener, move |request| forward(client.clone(), upstream.clone(), request)).await
}

async fn forward(
    client: Upstream,
    upstream: Authority,
    mut request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(upstream);
    let sent = match Uri::from_parts(parts) {
        Ok(uri) => {
            *request.uri_mut() = uri;
            client.request(request).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    Ok(sent.map_or_else(
        |error| {
            let body = Full::new(Bytes::from(error)).map_err(|never| match never {});
            let mut answer = Response::new(body.boxed_unsync());
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        },
        |answer| answer.map(BodyExt::boxed_unsync),
    ))
}
