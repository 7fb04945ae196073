//! Public services of other processes for gRPC clients: calls pass byte for byte, only their headers change.

use std::{
    convert::Infallible,
    future::ready,
    marker::PhantomData,
    task::{Context, Poll},
};

use embermesh_transport::CallContext;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use tonic::{Status, body::Body, server::NamedService};
use tower::{Service, ServiceExt};

use crate::{authenticate::API_KEY, http::context};

/// Stands for the generated server `S`, which is behind a transport. Calls have been admitted.
pub(crate) struct Forward<S, T> {
    to: T,
    server: PhantomData<fn() -> S>,
}

impl<S, T> Forward<S, T> {
    /// Passes calls of `S` on to `to`.
    pub fn new(to: T) -> Self {
        Self { to, server: PhantomData }
    }
}

impl<S, T: Clone> Clone for Forward<S, T> {
    fn clone(&self) -> Self {
        Self::new(self.to.clone())
    }
}

impl<S: NamedService, T> NamedService for Forward<S, T> {
    const NAME: &'static str = S::NAME;
}

impl<S, T> Service<Request<Body>> for Forward<S, T>
where
    T: Service<Request<Body>, Response = Response<Body>, Error = Status> + Clone + Send + 'static,
    T::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let to = self.to.clone();
        match context(request.extensions()).cloned() {
            Ok(context) => dress(request.headers_mut(), &context),
            Err(error) => return Box::pin(ready(Ok(Status::from(error).into_http()))),
        }
        Box::pin(async move { Ok(to.oneshot(request).await.unwrap_or_else(Status::into_http)) })
    }
}

/// The credential stays here; what the client claims to be is replaced by what it is.
fn dress(headers: &mut HeaderMap, context: &CallContext) {
    headers.remove(API_KEY);
    headers.remove(AUTHORIZATION);
    context.replace_in(headers);
}
