//! The public services for gRPC clients, on the same port and under the same rules as REST.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use axum::Router;
use embermesh_errors::{Code, Error};
use embermesh_proto::{
    DESCRIPTORS,
    v1::{
        agents_server::AgentsServer,
        audit_server::AuditServer,
        budgets_server::BudgetsServer,
        cache_server::CacheServer,
        catalog_server::CatalogServer,
        debug_server::DebugServer,
        embeddings_server::{Embeddings, EmbeddingsServer},
        jobs_server::JobsServer,
        keys_server::KeysServer,
        migrations_server::MigrationsServer,
        operations_server::OperationsServer,
        policies_server::PoliciesServer,
        providers_server::ProvidersServer,
        reports_server::ReportsServer,
        settings_server::SettingsServer,
        tenants_server::TenantsServer,
    },
};
use embermesh_transport::{GrpcMetrics, MAX_MESSAGE_BYTES, ServerBuilder};
use futures::future::Either;
use http::{Request, Response};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use crate::{
    authorise::method,
    backends::Upstreams,
    cache::Cache,
    edge::AppState,
    forward::Forward,
    http::{admit_method, is_grpc},
    migrations::Migrations,
};

/// All public services, with health and reflection, which need no key.
pub(crate) async fn router<E: Embeddings>(
    app: &AppState,
    (embeddings, cache, migrations): (Arc<E>, Arc<Cache>, Arc<Migrations>),
    upstreams: &Upstreams,
    metrics: GrpcMetrics,
) -> Result<Router, tonic_reflection::server::Error> {
    let embeddings = EmbeddingsServer::from_arc(embeddings)
        .max_decoding_message_size(app.max_body_bytes.min(MAX_MESSAGE_BYTES))
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let admin = || upstreams.admin.clone();
    ServerBuilder::new(metrics)
        .service(Admitted::new(embeddings, app))
        .service(Admitted::new(CacheServer::from_arc(cache), app))
        .service(Admitted::new(MigrationsServer::from_arc(migrations), app))
        .service(Admitted::new(DebugServer::from_arc(Arc::clone(&upstreams.debug)), app))
        .forward(Admitted::new(Forward::<AgentsServer<()>, _>::new(admin()), app))
        .forward(Admitted::new(Forward::<KeysServer<()>, _>::new(admin()), app))
        .forward(Admitted::new(Forward::<CatalogServer<()>, _>::new(admin()), app))
        .forward(Admitted::new(Forward::<BudgetsServer<()>, _>::new(admin()), app))
        .forward(Admitted::new(Forward::<ProvidersServer<()>, _>::new(admin()), app))
        .forward(Admitted::new(Forward::<AuditServer<()>, _>::new(admin()), app))
        .forward(Admitted::new(Forward::<SettingsServer<()>, _>::new(admin()), app))
        .forward(Admitted::new(Forward::<TenantsServer<()>, _>::new(admin()), app))
        .forward(Admitted::new(Forward::<PoliciesServer<()>, _>::new(admin()), app))
        .forward(Admitted::new(Forward::<ReportsServer<()>, _>::new(upstreams.ledger.clone()), app))
        .forward(Admitted::new(Forward::<JobsServer<()>, _>::new(upstreams.store.clone()), app))
        .forward(Admitted::new(Forward::<OperationsServer<()>, _>::new(upstreams.router.clone()), app))
        .router(DESCRIPTORS)
        .await
}

/// Lets calls through to `inner` whose key is good for the method.
#[derive(Clone)]
struct Admitted<S> {
    inner: S,
    app: AppState,
}

impl<S> Admitted<S> {
    fn new(inner: S, app: &AppState) -> Self {
        Self { inner, app: app.clone() }
    }

    fn admit(&self, request: Request<Body>) -> Result<Request<Body>, Error> {
        let (mut parts, body) = request.into_parts();
        if !is_grpc(&parts.headers) {
            return Err(Error::not_found("no such route, gRPC calls have the content type application/grpc"));
        }
        let unknown = || Error::new(Code::NotImplemented, "no such method, reflection lists them");
        let method = method(parts.uri.path()).ok_or_else(unknown)?;
        admit_method(&self.app, &parts.headers, &mut parts.extensions, method)?;
        Ok(Request::from_parts(parts, body))
    }
}

impl<S: NamedService> NamedService for Admitted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Admitted<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let grpc = is_grpc(request.headers());
        match self.admit(request) {
            Ok(request) => Either::Left(self.inner.call(request)),
            Err(error) if grpc => Either::Right(ready(Ok(Status::from(error).into_http()))),
            Err(error) => Either::Right(ready(Ok(refusal(error)))),
        }
    }
}

/// For a caller that speaks no gRPC; the edge writes the body.
fn refusal(error: Error) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = error.code.http();
    response.extensions_mut().insert(error);
    response
}
