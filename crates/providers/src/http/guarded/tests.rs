use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use embermesh_egress::tricks::TRICKS;
use http::Request;
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use super::*;
use crate::{
    Failure, ProviderError,
    http::{Answer, HttpClient, by_status},
};

const SHORT: Duration = Duration::from_millis(500);

/// Answers each question with the next of some addresses, and with the last one from then on.
#[derive(Debug, Clone)]
struct Stub {
    answers: Arc<Mutex<VecDeque<IpAddr>>>,
    asked: Arc<AtomicUsize>,
}

impl Stub {
    fn answering(addresses: &[&str]) -> Self {
        let answers = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Self { answers: Arc::new(Mutex::new(answers)), asked: Arc::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Resolve for Stub {}

impl Service<Name> for Stub {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let address = if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() };
        ready(Ok(vec![SocketAddr::new(address.unwrap(), 0)].into_iter()))
    }
}

/// Counts who connects, and answers everybody with `answer`.
struct Sink {
    port: u16,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Sink {
    async fn start(answer: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, mut tasks) = (Arc::clone(&connections), JoinSet::new());
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let _read = stream.read(&mut [0; 4096]).await;
                let _written = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, connections, _tasks: tasks }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn ok() -> String {
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".to_owned()
}

async fn send(hosts: &[&str], resolver: &Stub, url: &str) -> Option<Result<Answer, ProviderError>> {
    let request = Request::post(url).body(Full::new(Bytes::from_static(b"text"))).ok()?;
    let rules = Rules::parse(hosts.iter().copied()).unwrap();
    let client = HttpClient::over(TcpConnector::guarded_with(rules, resolver)).unwrap();
    Some(client.send(request, SHORT, by_status).await)
}

#[tokio::test]
async fn no_trick_reaches_this_machine_whatever_the_resolver_says() {
    let sink = Sink::start(ok()).await;
    let resolver = Stub::answering(&["127.0.0.1"]);
    for trick in TRICKS {
        let url = trick.replace("{}", &sink.port.to_string());
        if let Some(sent) = send(&["api.example.com"], &resolver, &url).await {
            assert!(sent.is_err(), "{url}");
        }
    }
    assert_eq!((sink.connections(), resolver.asked()), (0, 0));
    // the sink does count, and the client does connect, where the operator's file says so
    let own = format!("127.0.0.1:{}", sink.port);
    assert!(send(&[&own], &resolver, &format!("http://{own}/")).await.unwrap().is_ok());
    assert_eq!(sink.connections(), 1);
}

#[tokio::test]
async fn a_permitted_host_is_not_connected_to_at_an_address_of_its_own_choice() {
    let sink = Sink::start(ok()).await;
    for address in [
        "127.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "fd00::1",
        "fe80::1",
    ] {
        let resolver = Stub::answering(&[address]);
        let sent = send(&["*.example.com"], &resolver, "https://api.example.com:8443/").await.unwrap();
        assert_eq!(sent.unwrap_err().failure, Failure::Unreachable, "{address}");
        assert_eq!(resolver.asked(), 1, "{address}");
    }
    // of an exception the port holds too, and no metadata server
    let (named, resolver) = (format!("own.internal:{}", sink.port), Stub::answering(&["169.254.169.254"]));
    assert!(send(&[&named], &resolver, &format!("http://{named}/")).await.unwrap().is_err());
    assert!(send(&["own.internal:1"], &resolver, &format!("http://{named}/")).await.unwrap().is_err());
    assert_eq!((sink.connections(), resolver.asked()), (0, 1));
}

#[tokio::test]
async fn the_address_that_was_judged_is_the_one_that_is_connected_to() {
    let sink = Sink::start(ok()).await;
    let named = format!("own.internal:{}", sink.port);
    // a second question would be answered with what must not be connected to, and with what cannot be
    let resolver = Stub::answering(&["127.0.0.1", "169.254.169.254"]);
    assert!(send(&[&named], &resolver, &format!("http://{named}/")).await.unwrap().is_ok());
    assert_eq!((sink.connections(), resolver.asked()), (1, 1));
    assert!(send(&[&named], &resolver, &format!("http://{named}/")).await.unwrap().is_err());
    assert_eq!((sink.connections(), resolver.asked()), (1, 2));
    // the other way round: judged as public, private from then on
    let rebinding = Stub::answering(&["1.1.1.1", "127.0.0.1"]);
    let sent = send(&["api.example.com"], &rebinding, "https://api.example.com:8443/").await.unwrap();
    assert!(sent.is_err());
    assert_eq!((sink.connections(), rebinding.asked()), (1, 1));
}

#[tokio::test]
async fn a_redirect_is_an_answer_that_nobody_follows() {
    let target = Sink::start(ok()).await;
    for location in [
        format!("http://127.0.0.1:{}/", target.port),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("http://localhost:{}/", target.port),
    ] {
        for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
            let head = format!("HTTP/1.1 {status}\r\nlocation: {location}\r\n");
            let own = Sink::start(format!("{head}content-length: 0\r\nconnection: close\r\n\r\n")).await;
            let permitted = [format!("127.0.0.1:{}", own.port), format!("127.0.0.1:{}", target.port)];
            let permitted: Vec<&str> = permitted.iter().map(String::as_str).collect();
            let url = format!("http://{}/", permitted[0]);
            assert!(send(&permitted, &Stub::answering(&["127.0.0.1"]), &url).await.unwrap().is_err());
            assert_eq!((own.connections(), target.connections()), (1, 0), "{status} {location}");
        }
    }
}
