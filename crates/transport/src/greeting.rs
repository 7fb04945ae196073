//! Closes a connection on which nothing has been asked in time. Which HTTP version a client speaks shows in its first 24 bytes, and
//! hyper waits for those without a limit: its header timeout begins after them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes have to arrive in time.
pub(crate) struct Greeting<IO> {
    io: IO,
    waiting: Option<Waiting>,
}

struct Waiting {
    /// How much of the preface has arrived.
    seen: usize,
    until: Pin<Box<Sleep>>,
}

impl<IO> Greeting<IO> {
    pub(crate) fn new(io: IO, longest: Duration) -> Self {
        Self { io, waiting: Some(Waiting { seen: 0, until: Box::pin(sleep(longest)) }) }
    }
}

/// Whether the version is known once `bytes` follow the `seen` bytes of the preface.
fn is_known(seen: usize, bytes: &[u8]) -> bool {
    let rest = PREFACE.get(seen..).unwrap_or_default();
    bytes.len() >= rest.len() || !rest.starts_with(bytes)
}

impl<IO: AsyncRead + Unpin> AsyncRead for Greeting<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let Some(waiting) = &mut self.waiting else { return polled };
        if polled.is_pending() {
            return waiting.until.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        let read = buffer.filled().get(before..).unwrap_or_default();
        if is_known(waiting.seen, read) {
            self.waiting = None;
        } else {
            waiting.seen += read.len();
        }
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Greeting<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_known_at_the_first_byte_that_differs_or_the_last_of_the_preface() {
        for (seen, bytes, known) in [
            (0, &b""[..], false),
            (0, b"P", false),
            (0, b"POST / HTTP/1.1\r\n", true),
            (0, b"G", true),
            (1, b"RI * HT", false),
            (8, b"TP/2.0\r\n\r\nSM\r\n\r", false),
            (8, b"TP/2.0\r\n\r\nSM\r\n\r\n", true),
            (23, b"\n and more", true),
        ] {
            assert_eq!(is_known(seen, bytes), known, "{seen} {}", bytes.escape_ascii());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_preface_times_out_and_a_request_line_does_not() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for (text, closed) in [("", true), ("PRI * HT", true), ("GET ", false)] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(text.as_bytes()).await.unwrap();
            let mut server = Greeting::new(server, Duration::from_secs(10));
            let mut got = vec![0; text.len()];
            server.read_exact(&mut got).await.unwrap();
            let more = tokio::time::timeout(Duration::from_secs(60), server.read(&mut [0])).await;
            assert_eq!(more.is_ok_and(|read| read.is_err()), closed, "{text}");
        }
    }
}
