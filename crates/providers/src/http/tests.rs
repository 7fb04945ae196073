use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::header;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Barrier, Semaphore, mpsc},
    task::JoinSet,
};

use super::*;
use crate::Billing;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server of bare sockets that does to each connection whatever `serve` does.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, mut tasks) = (Arc::clone(&connections), JoinSet::new());
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                served.spawn(serve(stream));
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    fn url(&self) -> String {
        format!("http://{}/embed", self.address)
    }
}

/// Reads one whole request; nothing when the client has gone.
async fn request_of(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
    }
}

fn request(url: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(url).body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

async fn send(url: &str, timeout: Duration) -> Result<Answer, ProviderError> {
    HttpClient::new().unwrap().send(request(url, "text"), timeout, by_status).await
}

async fn failure_of(url: &str, timeout: Duration) -> Failure {
    send(url, timeout).await.unwrap_err().failure
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (seen, mut requests) = mpsc::unbounded_channel();
    let plain = Server::start(move |mut stream| {
        let seen = seen.clone();
        async move {
            // a TLS greeting is no request
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.unwrap();
            seen.send(bytes).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let mute = Server::start(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    for (url, timeout) in [
        (format!("http://{closed}/"), LONG),
        ("http://no-such-host.invalid/".to_owned(), LONG),
        (plain.url().replace("http", "https"), LONG),
        (mute.url().replace("http", "https"), SHORT),
    ] {
        let failure = failure_of(&url, timeout).await;
        assert_eq!((failure, failure.billing()), (Failure::Unreachable, Billing::NotBilled), "{url}");
    }
    assert_ne!(&requests.recv().await.unwrap(), b"POST");
}

#[tokio::test]
async fn a_break_after_the_request_may_have_been_billed() {
    for reset in [true, false] {
        let server = Server::start(move |mut stream| async move {
            request_of(&mut stream).await;
            if reset {
                embermesh_testing::sim::reset(stream).unwrap();
            }
        })
        .await;
        let failure = failure_of(&server.url(), LONG).await;
        assert_eq!((failure, failure.billing()), (Failure::Broken, Billing::Unknown), "reset: {reset}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_broken() {
    let server = Server::start(|mut stream| async move {
        request_of(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    })
    .await;
    assert_eq!(failure_of(&server.url(), LONG).await, Failure::Broken);
}

#[tokio::test]
async fn the_timeout_bounds_the_whole_exchange_and_closes_the_connection() {
    // nothing at all; a head and then a byte now and then, for ever
    for trickle in [false, true] {
        let (gone, mut told) = mpsc::unbounded_channel();
        let server = Server::start(move |mut stream| {
            let gone = gone.clone();
            async move {
                request_of(&mut stream).await;
                if trickle {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
                    while stream.write_all(b"x").await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                } else {
                    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
                }
                gone.send(()).unwrap();
            }
        })
        .await;
        assert_eq!(failure_of(&server.url(), SHORT).await, Failure::TimedOut, "trickle: {trickle}");
        told.recv().await.unwrap();
    }
}

#[tokio::test]
async fn dropping_the_call_closes_the_connection() {
    let (say, mut told) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let say = say.clone();
        async move {
            request_of(&mut stream).await;
            say.send("read").unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
            say.send("closed").unwrap();
        }
    })
    .await;
    let client = HttpClient::new().unwrap();
    tokio::select! {
        answer = client.send(request(&server.url(), "text"), LONG, by_status) => panic!("{answer:?}"),
        read = told.recv() => assert_eq!(read, Some("read")),
    }
    assert_eq!(told.recv().await, Some("closed"));
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start(|mut stream| async move {
        while request_of(&mut stream).await.is_some() {
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let client = HttpClient::new().unwrap();
    for _ in 0..5 {
        let answer = client.send(request(&server.url(), "text"), LONG, by_status).await.unwrap();
        assert_eq!(&answer.body[..], b"ok");
        // the pool takes it back from a task of its own
        tokio::task::yield_now().await;
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

/// The server closes while the next request is on its way, at every moment that chance offers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_while_idle_costs_nothing_that_is_not_reported() {
    const CALLS: usize = 2_000;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = Server::start(move |mut stream| {
        let log = Arc::clone(&log);
        async move {
            if let Some(request) = request_of(&mut stream).await {
                let id = request.rsplit_once('\n').unwrap().1.parse::<usize>().unwrap();
                log.lock().unwrap().push(id);
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let client = HttpClient::new().unwrap();
    let mut answered = 0;
    for id in 0..CALLS {
        match client.send(request(&server.url(), &id.to_string()), LONG, by_status).await {
            Ok(_) => answered += 1,
            // may have been read, and says so
            Err(error) => assert_eq!(error.failure, Failure::Broken),
        }
    }
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "a request went out twice");
    assert!(seen.len() >= answered);
    assert!(answered > CALLS / 2, "{answered} of {CALLS}");
}

#[tokio::test]
async fn however_many_idle_connections_were_closed_a_call_finds_its_way() {
    const IDLE: usize = 12;
    let (all_here, closing) = (Arc::new(Barrier::new(IDLE)), Arc::new(Semaphore::new(0)));
    let closed = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let (closing, closed) = (Arc::clone(&closing), Arc::clone(&closed));
        move |mut stream| {
            let (all_here, closing) = (Arc::clone(&all_here), Arc::clone(&closing));
            let closed = Arc::clone(&closed);
            async move {
                let first = request_of(&mut stream).await.unwrap();
                if first.ends_with("first") {
                    all_here.wait().await;
                }
                stream.write_all(OK.as_bytes()).await.unwrap();
                closing.acquire().await.unwrap().forget();
                drop(stream);
                closed.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let client = HttpClient::new().unwrap();
    let calls = (0..IDLE).map(|_| client.send(request(&server.url(), "first"), LONG, by_status));
    for answer in futures::future::join_all(calls.collect::<Vec<_>>()).await {
        answer.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), IDLE);
    closing.add_permits(IDLE);
    while closed.load(Ordering::SeqCst) < IDLE {
        tokio::task::yield_now().await;
    }
    // until the client's side has heard of it
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.send(request(&server.url(), "second"), LONG, by_status).await.unwrap();
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::start(|_| async {}).await;
    let elsewhere = target.url();
    let server = Server::start(move |mut stream| {
        let head =
            format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
        async move {
            request_of(&mut stream).await;
            stream.write_all(head.as_bytes()).await.unwrap();
        }
    })
    .await;
    assert_eq!(failure_of(&server.url(), LONG).await, Failure::NotHere);
    assert_eq!(target.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_status_counts_although_its_body_never_ends() {
    let server = Server::start(|mut stream| async move {
        request_of(&mut stream).await;
        let head = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 9\r\ncontent-length: 99\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        request_of(&mut stream).await;
    })
    .await;
    let error = send(&server.url(), SHORT).await.unwrap_err();
    assert_eq!((error.failure, error.retry_after), (Failure::Throttled, Some(Duration::from_secs(9))));
}

#[tokio::test]
async fn an_answer_beyond_all_measure_is_not_read() {
    let server = Server::start(|mut stream| async move {
        request_of(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", MAX_ANSWER_BYTES + 1);
        stream.write_all(head.as_bytes()).await.unwrap();
        request_of(&mut stream).await;
    })
    .await;
    assert_eq!(failure_of(&server.url(), LONG).await, Failure::BadAnswer);
}

#[tokio::test]
async fn what_the_provider_says_is_not_repeated() {
    let server = Server::start(|mut stream| async move {
        let request = request_of(&mut stream).await.unwrap();
        let input = request.rsplit_once('\n').unwrap().1;
        let body = format!(r#"{{"error":{{"message":"cannot embed {input}"}}}}"#);
        let head =
            format!("HTTP/1.1 400 Bad Request\r\n{}: {}\r\n\r\n{body}", header::CONTENT_LENGTH, body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
    })
    .await;
    let client = HttpClient::new().unwrap();
    let error = client.send(request(&server.url(), "my secret"), LONG, by_status).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}
