//! One HTTP/1 connection, driven by the call that uses it. With a task of its own, every call would be handed over, woken and put away
//! several times, which costs more than what is said over the connection.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::{TrySendError, http1},
};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::unconstrained};

/// What a connection goes over.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
/// What is sent.
pub(super) type Sent = Request<Full<Bytes>>;

/// A connection. To drop it closes it.
pub(super) struct Connection {
    requests: http1::SendRequest<Full<Bytes>>,
    /// Reads and writes; absent once the connection has ended.
    driver: Option<http1::Connection<Stream, Full<Bytes>>>,
}

impl Connection {
    /// Over a stream that has come about.
    pub async fn over(stream: Stream) -> io::Result<Self> {
        let (requests, driver) = http1::handshake(stream).await.map_err(io::Error::other)?;
        Ok(Self { requests, driver: Some(driver) })
    }

    /// Sends a request and waits for the head of its answer. The error holds the request if nothing of it was written.
    pub async fn send(&mut self, request: Sent) -> Result<Response<Incoming>, TrySendError<Sent>> {
        let mut answer = pin!(unconstrained(self.requests.try_send_request(request)));
        let driver = &mut self.driver;
        poll_fn(|cx| drive(driver, cx, |cx| answer.as_mut().poll(cx))).await
    }

    /// The next part of an answer.
    pub async fn frame(&mut self, body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        let driver = &mut self.driver;
        poll_fn(|cx| drive(driver, cx, |cx| Pin::new(&mut *body).poll_frame(cx))).await
    }

    /// Whether it may carry another request, after an answer that was read to its end.
    pub async fn is_reusable(&mut self) -> bool {
        let driver = &mut self.driver;
        poll_fn(|cx| {
            go_on(driver, cx);
            Poll::Ready(())
        })
        .await;
        self.driver.is_some() && self.requests.is_ready()
    }
}

fn go_on(driver: &mut Option<http1::Connection<Stream, Full<Bytes>>>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
        // whoever waits for it hears of the end: what the driver leaves unanswered fails with it
        *driver = None;
    }
}

/// Lets the driver go on, and then polls what waits for it. The driver alone wakes the task: what waits gets all that it waits for from
/// the driver, and would only wake the task once more.
fn drive<T>(
    driver: &mut Option<http1::Connection<Stream, Full<Bytes>>>,
    cx: &mut Context<'_>,
    mut waiting: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    go_on(driver, cx);
    waiting(&mut Context::from_waker(Waker::noop()))
}
