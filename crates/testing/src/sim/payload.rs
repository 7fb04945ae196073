//! The body of an answer, at once or in pieces.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// Bytes of an answer.
#[derive(Debug)]
pub(super) struct Payload {
    rest: Bytes,
    pace: Option<Pace>,
}

#[derive(Debug)]
struct Pace {
    bytes: usize,
    every: Duration,
    pause: Pin<Box<Sleep>>,
}

impl Payload {
    /// Everything at once.
    pub const fn whole(bytes: Bytes) -> Self {
        Self { rest: bytes, pace: None }
    }

    /// `bytes` bytes after each pause, the first one included.
    pub fn trickle(body: Bytes, bytes: usize, every: Duration) -> Self {
        Self { rest: body, pace: Some(Pace { bytes: bytes.max(1), every, pause: Box::pin(sleep(every)) }) }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let mut piece = self.rest.len();
        if let Some(pace) = &mut self.pace {
            ready!(pace.pause.as_mut().poll(context));
            let next = Instant::now() + pace.every;
            pace.pause.as_mut().reset(next);
            piece = piece.min(pace.bytes);
        }
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
