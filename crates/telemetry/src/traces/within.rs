//! What is under way in a task.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::Trace;

tokio::task_local! {
    static CURRENT: Trace;
}

pub(super) fn current() -> Option<Trace> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Does work as part of a trace, if there is one.
pub const fn within<F: Future>(trace: Option<Trace>, work: F) -> Within<F> {
    Within { trace, work }
}

pin_project! {
    /// See [`within`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Within<F> {
        trace: Option<Trace>,
        #[pin]
        work: F,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.trace {
            Some(trace) => CURRENT.sync_scope(trace.clone(), || this.work.poll(cx)),
            None => this.work.poll(cx),
        }
    }
}
