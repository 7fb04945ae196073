//! The short way to a service of this process: its implementation, called without wire format, headers or bodies. For paths on which
//! the generated client over [`Transport`](crate::Transport) costs more than the work it asks for; where there is no short way, that
//! client is the way. What the layers promise holds here too: no call outlives its deadline, a panic ends its own call alone, and
//! every call counts once.

use std::{any::Any, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use embermesh_telemetry::{Span, Trace, within};
use futures::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Request, Response, Status};

use crate::{CallContext, GrpcMetrics, deadline, metrics::Count, panics};

/// An implementation of the generated service trait `T`, which is a `dyn` one.
pub struct Direct<T: ?Sized> {
    service: Arc<T>,
    name: &'static str,
    metrics: GrpcMetrics,
}

/// Any [`Direct`].
pub(crate) type AnyDirect = Arc<dyn Any + Send + Sync>;

impl<T: ?Sized> Direct<T> {
    /// `name` is that of the service in the contracts.
    pub(crate) const fn new(service: Arc<T>, name: &'static str, metrics: GrpcMetrics) -> Self {
        Self { service, name, metrics }
    }

    /// Calls `method`, which is also what `by` calls, as `context` says. The service finds the context with [`CallContext::of`].
    ///
    /// # Errors
    /// What the service answers, `DeadlineExceeded` or `Internal`.
    pub async fn call<M, R>(
        &self,
        method: &'static str,
        context: &CallContext,
        message: M,
        by: impl for<'a> FnOnce(&'a T, Request<M>) -> BoxFuture<'a, Result<Response<R>, Status>>,
    ) -> Result<R, Status> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(context.clone());
        let left = context.time_left().unwrap_or(deadline::LONGEST);
        self.carry(method, left, request, by).await
    }

    /// [`call`](Self::call) for nobody's request, of a method that needs no context, for as long as `left`.
    ///
    /// # Errors
    /// What the service answers, `DeadlineExceeded` or `Internal`.
    pub async fn tell<M, R>(
        &self,
        method: &'static str,
        left: Duration,
        message: M,
        by: impl for<'a> FnOnce(&'a T, Request<M>) -> BoxFuture<'a, Result<Response<R>, Status>>,
    ) -> Result<R, Status> {
        self.carry(method, left, Request::new(message), by).await
    }

    async fn carry<M, R>(
        &self,
        method: &'static str,
        left: Duration,
        request: Request<M>,
        by: impl for<'a> FnOnce(&'a T, Request<M>) -> BoxFuture<'a, Result<Response<R>, Status>>,
    ) -> Result<R, Status> {
        let mut count = Count::new(&self.metrics, self.name, method);
        let mut span = match Trace::current() {
            Some(trace) => Span::under(Some(&trace), format!("{}/{method}", self.name)),
            None => Span::default(),
        };
        let answer = within(span.trace(), self.answer(left, || by(&*self.service, request))).await;
        count.code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        if count.code != Code::Ok {
            span.fail(count.code.description());
        }
        answer.map(Response::into_inner)
    }

    async fn answer<'a, R>(
        &self,
        left: Duration,
        call: impl FnOnce() -> BoxFuture<'a, Result<Response<R>, Status>>,
    ) -> Result<Response<R>, Status> {
        // the call may panic before it is a future
        let call = AssertUnwindSafe(async move { call().await }).catch_unwind();
        match timeout_at(Instant::now() + left, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(panics::defect()),
            Err(_) => Err(deadline::passed()),
        }
    }
}

impl<T: ?Sized> fmt::Debug for Direct<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
