//! A panic in a handler becomes an `internal` answer; in one process it would otherwise unwind into the caller.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

use embermesh_errors::Error;
use futures::{FutureExt, future::BoxFuture};
use tonic::{Status, server::NamedService};
use tower::{Layer, Service};

use crate::{Request, Response};

#[derive(Clone, Debug)]
pub(crate) struct CatchPanicLayer;

#[derive(Clone, Debug)]
pub(crate) struct CatchPanic<S>(S);

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic(inner)
    }
}

impl<S: NamedService> NamedService for CatchPanic<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request> for CatchPanic<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // the call may panic before it is a future
        let started = catch_unwind(AssertUnwindSafe(|| self.0.call(request)));
        Box::pin(async move {
            let Ok(call) = started else { return Ok(defect().into_http()) };
            AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| Ok(defect().into_http()))
        })
    }
}

/// What a call that panicked is answered.
pub(crate) fn defect() -> Status {
    tracing::error!("a handler panicked; the backtrace is above");
    Error::internal("the request met a defect, report its request id").into()
}
