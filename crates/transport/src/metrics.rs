//! Counts every call by its outcome, at the side that serves it, and makes it a part of its trace.

use std::{
    borrow::Cow,
    task::{Context, Poll},
};

use embermesh_telemetry::{Metrics, Span, within};
use futures::future::BoxFuture;
use prometheus::{IntCounterVec, Opts};
use tonic::{Code, Status, server::NamedService};
use tower::{Layer, Service};

use crate::{Request, Response};

/// `grpc_server_handled_total` of one process.
#[derive(Clone, Debug)]
pub struct GrpcMetrics {
    handled: IntCounterVec,
}

impl GrpcMetrics {
    /// Registers the counter.
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let opts =
            Opts::new("grpc_server_handled_total", "Calls served, by service, method and gRPC status.");
        let handled = IntCounterVec::new(opts, &["grpc_service", "grpc_method", "grpc_code"])?;
        Ok(Self { handled: metrics.register(handled) })
    }

    fn count(&self, service: &str, method: &str, code: Code) {
        // a path that no service has is not given a label of its own
        if code == Code::Unimplemented {
            return;
        }
        // formatting the usual code would be most of the work
        let code = if code == Code::Ok { Cow::Borrowed("Ok") } else { Cow::Owned(format!("{code:?}")) };
        self.handled.with_label_values(&[service, method, &*code]).inc();
    }
}

#[derive(Clone, Debug)]
pub(crate) struct CountCallsLayer(pub GrpcMetrics);

#[derive(Clone, Debug)]
pub(crate) struct CountCalls<S> {
    inner: S,
    metrics: GrpcMetrics,
}

impl<S> Layer<S> for CountCallsLayer {
    type Service = CountCalls<S>;

    fn layer(&self, inner: S) -> CountCalls<S> {
        CountCalls { inner, metrics: self.0.clone() }
    }
}

impl<S: NamedService> NamedService for CountCalls<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request> for CountCalls<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut count =
            CountByUri { uri: request.uri().clone(), metrics: self.metrics.clone(), code: Code::Cancelled };
        let mut span = Span::serving(request.headers(), || {
            Cow::Owned(request.uri().path().trim_start_matches('/').to_owned())
        });
        let call = self.inner.call(request);
        Box::pin(within(span.trace(), async move {
            let answer = call.await?;
            // every answer of gRPC's is 200; anything else is one to somebody who speaks no gRPC, whose path may be any
            if answer.status() != http::StatusCode::OK {
                count.code = Code::Unimplemented;
                drop(count);
                return Ok(answer);
            }
            // an error is in the headers, success in the trailers
            count.code = Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code());
            if count.code != Code::Ok {
                span.fail(count.code.description());
            }
            drop(count);
            Ok(answer)
        }))
    }
}

/// One call, counted when this is dropped: a caller that goes away drops the call before there is an answer.
struct CountByUri {
    uri: http::Uri,
    metrics: GrpcMetrics,
    code: Code,
}

impl Drop for CountByUri {
    fn drop(&mut self) {
        if let Some((service, method)) = self.uri.path().trim_start_matches('/').split_once('/') {
            self.metrics.count(service, method, self.code);
        }
    }
}

/// The same of a call that has no path.
pub(crate) struct Count<'a> {
    metrics: &'a GrpcMetrics,
    service: &'static str,
    method: &'static str,
    pub(crate) code: Code,
}

impl<'a> Count<'a> {
    pub(crate) const fn new(metrics: &'a GrpcMetrics, service: &'static str, method: &'static str) -> Self {
        Self { metrics, service, method, code: Code::Cancelled }
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.metrics.count(self.service, self.method, self.code);
    }
}
