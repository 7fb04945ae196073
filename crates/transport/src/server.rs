//! The server that every service stands on: roles register what they serve, and one port carries gRPC, health and metrics.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Readiness;
use embermesh_telemetry::Metrics;
use serde_json::{Map, json};
use tonic::{Status, body::Body, server::NamedService, service::Routes};
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::{
    GrpcMetrics, Request, Transport,
    deadline::DeadlineLayer,
    direct::{AnyDirect, Direct},
    metrics::CountCallsLayer,
    panics::CatchPanicLayer,
};

/// A client's transport to a generated server in this process: no socket, the same layers as over one.
pub fn in_process<S>(server: S, metrics: &GrpcMetrics) -> Transport
where
    S: Service<Request, Response = http::Response<Body>, Error = Infallible> + NamedService,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let server = layered(server, metrics, DeadlineLayer::for_callers());
    Transport::new(server.map_err(|never| match never {}))
}

/// Several generated servers of this process behind one transport, as a remote service would have them behind one port.
#[derive(Debug)]
pub struct InProcess {
    services: Vec<(&'static str, Transport)>,
    direct: Vec<AnyDirect>,
    metrics: GrpcMetrics,
}

impl InProcess {
    /// No servers yet.
    pub const fn new(metrics: GrpcMetrics) -> Self {
        Self { services: Vec::new(), direct: Vec::new(), metrics }
    }

    /// Adds a generated server.
    #[must_use]
    pub fn service<S>(mut self, server: S) -> Self
    where
        S: Service<Request, Response = http::Response<Body>, Error = Infallible> + NamedService,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.services.push((S::NAME, in_process(server, &self.metrics)));
        self
    }

    /// Offers [`Direct`] calls of the implementation of the generated trait `T` beside those of its server `S`.
    #[must_use]
    pub fn direct<S: NamedService, T>(mut self, service: Arc<T>) -> Self
    where
        T: Send + Sync + ?Sized + 'static,
    {
        self.direct.push(Arc::new(Direct::new(service, S::NAME, self.metrics.clone())));
        self
    }

    /// The transport to all of them.
    pub fn transport(self) -> Transport {
        let services: Arc<[_]> = self.services.into();
        let direct = self.direct.into();
        let wire = Transport::new(tower::service_fn(move |request: Request| {
            let name = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
            let found = services.iter().find(|(known, _)| *known == name).map(|(_, to)| to.clone());
            async move {
                match found {
                    Some(to) => to.oneshot(request).await,
                    None => {
                        let error =
                            Error::new(Code::NotImplemented, "the service is not part of this process");
                        Err(Status::from(error))
                    }
                }
            }
        }));
        Transport { direct, ..wire }
    }
}

type Layered<S> = crate::metrics::CountCalls<crate::panics::CatchPanic<crate::deadline::Deadline<S>>>;

/// The count is outermost: panics and missed deadlines are outcomes too.
fn layered<S>(server: S, metrics: &GrpcMetrics, deadline: DeadlineLayer) -> Layered<S> {
    ServiceBuilder::new()
        .layer(CountCallsLayer(metrics.clone()))
        .layer(CatchPanicLayer)
        .layer(deadline)
        .service(server)
}

/// What the operations routes of a process tell.
#[derive(Clone, Debug)]
pub struct Ops {
    /// Behind `/health/ready`.
    pub readiness: Readiness,
    /// Behind `/metrics`.
    pub metrics: Metrics,
}

impl Ops {
    /// `/health/live`, `/health/ready` and `/metrics`.
    pub fn router(self) -> Router {
        self.health_router().merge(self.metrics_router())
    }

    /// `/health/live` and `/health/ready`, which anybody may ask.
    pub fn health_router(&self) -> Router {
        Router::new()
            .route("/health/live", get(|| async { Json(json!({"status": "live"})) }))
            .route("/health/ready", get(ready))
            .with_state(self.readiness.clone())
    }

    /// `/metrics`, in OpenMetrics' format for whoever asks for it.
    pub fn metrics_router(&self) -> Router {
        let metrics = self.metrics.clone();
        let render = move |headers: HeaderMap| async move {
            let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let (media_type, text) = metrics.exposition(accept);
            ([(CONTENT_TYPE, media_type)], text)
        };
        Router::new().route("/metrics", get(render))
    }
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let ready = readiness.is_ready();
    let conditions: Map<_, _> =
        readiness.report().into_iter().map(|(name, holds)| (name.to_owned(), holds.into())).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if ready { "ready" } else { "not ready" };
    let mut body =
        Map::from_iter([("status".to_owned(), word.into()), ("conditions".to_owned(), conditions.into())]);
    body.extend(readiness.told().into_iter().map(|(topic, parts)| (topic.to_owned(), parts.into())));
    (status, Json(body)).into_response()
}

/// Collects the gRPC services of one port.
#[derive(Debug)]
pub struct ServerBuilder {
    routes: Routes,
    names: Vec<&'static str>,
    metrics: GrpcMetrics,
}

impl ServerBuilder {
    /// No services yet.
    pub fn new(metrics: GrpcMetrics) -> Self {
        Self { routes: Routes::default(), names: Vec::new(), metrics }
    }

    /// Adds a generated server, behind the shared layers.
    #[must_use]
    pub fn service<S>(mut self, server: S) -> Self
    where
        S: Service<Request, Response = http::Response<Body>, Error = Infallible> + NamedService,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(layered(server, &self.metrics, DeadlineLayer::for_servers()));
        self
    }

    /// Adds a service that passes its calls on, behind the shared layers but for the count: calls count where they are served.
    #[must_use]
    pub fn forward<S>(mut self, service: S) -> Self
    where
        S: Service<Request, Response = http::Response<Body>, Error = Infallible> + NamedService,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        let layers = ServiceBuilder::new().layer(CatchPanicLayer).layer(DeadlineLayer::for_servers());
        self.routes = self.routes.add_service(layers.service(service));
        self
    }

    /// The services with gRPC health and reflection, as a router to merge HTTP routes into. `descriptors` is the encoded set of
    /// contracts.
    pub async fn router(self, descriptors: &'static [u8]) -> Result<Router, tonic_reflection::server::Error> {
        let (reporter, health) = tonic_health::server::health_reporter();
        for name in self.names {
            reporter.set_service_status(name, tonic_health::ServingStatus::Serving).await;
        }
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .build_v1()?;
        Ok(self.routes.add_service(health).add_service(reflection).prepare().into_axum_router())
    }
}

#[cfg(test)]
mod tests;
