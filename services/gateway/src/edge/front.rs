//! The way in. Embeddings in OpenAI's form are nearly all that a gateway is asked for, and go straight to their handler: on the way
//! through routes and layers a request is moved, boxed and looked up for longer than a known vector takes. Everything else goes that way.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
    routing::future::RouteFuture,
};
use embermesh_auth::Scope;
use embermesh_errors::Error;
use futures::future::{BoxFuture, Either};
use http::Method;
use tower::Service;

use super::AppState;
use crate::{
    api_calls::Endpoint,
    http::{Arrival, Failure, let_in, observe, read_json},
    openai::{Admitted, EMBEDDINGS, EmbeddingsHandler},
};

/// What stands before the routes.
#[derive(Clone)]
pub(super) struct Front {
    desk: Arc<Desk>,
    routes: Router,
}

struct Desk {
    app: AppState,
    embeddings: EmbeddingsHandler,
}

impl Front {
    /// In front of `routes`, which are observed already.
    pub fn new(app: AppState, embeddings: EmbeddingsHandler, routes: Router) -> Self {
        Self { desk: Arc::new(Desk { app, embeddings }), routes }
    }
}

impl Desk {
    async fn embed(&self, request: Request, arrival: Arrival) -> Result<Response, Error> {
        let (parts, body) = request.into_parts();
        let (context, key) = let_in(&self.app, &parts.headers, arrival, &[Scope::Embed])?;
        let body = read_json(&parts.headers, body, self.app.max_body_bytes, &self.app.tasks).await?;
        (self.embeddings)(Admitted { context, key, headers: parts.headers, body }).await
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<BoxFuture<'static, Result<Response, Infallible>>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // as routers are
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if request.method() != Method::POST || request.uri().path() != EMBEDDINGS {
            return Either::Right(self.routes.call(request));
        }
        let desk = Arc::clone(&self.desk);
        Either::Left(Box::pin(async move {
            let serve = async |request, arrival| {
                desk.embed(request, arrival).await.map_err(Failure::from).into_response()
            };
            Ok(observe(&desk.app, request, Endpoint::Named(EMBEDDINGS), serve).await)
        }))
    }
}
