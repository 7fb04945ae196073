//! Everything between a connection and the services: routes, who may call them, limits, and how answers look.

mod front;

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware::from_fn_with_state, routing::post};
use embermesh_lifecycle::Tasks;
use embermesh_proto::v1::embeddings_server::Embeddings;
use embermesh_subscription::Subscription;
use embermesh_transport::{GrpcMetrics, Ops};
use embermesh_types::Clock;
use front::Front;
use ipnet::IpNet;

use crate::{
    Settings, StartError,
    api_calls::ApiCalls,
    authenticate::Authenticator,
    backends::{Backends, Upstreams},
    cache::Cache,
    http::{HttpMetrics, admit_lookup, no_such_method, no_such_route, observe_route, operations},
    key_use::KeyUse,
    migrations::Migrations,
    openai::{EMBEDDINGS, OpenAi},
    public_grpc, rest,
};

/// What every handler may use.
#[derive(Debug)]
pub(crate) struct App {
    /// The services.
    pub backends: Backends,
    /// Checks keys.
    pub authenticator: Authenticator,
    /// What is counted.
    pub metrics: HttpMetrics,
    /// What is recorded.
    pub api_calls: ApiCalls,
    /// For what outlives a request.
    pub tasks: Tasks,
    /// The time of day.
    pub clock: Clock,
    /// Largest body.
    pub max_body_bytes: usize,
    /// From a request's head to its answer's head.
    pub request_timeout: Duration,
    /// Who needs no key for metrics and the like, beside loopback.
    pub metrics_allow: Vec<IpNet>,
}

/// Shared by all handlers.
pub(crate) type AppState = Arc<App>;

/// What an edge is built from.
pub(crate) struct EdgeParts<E> {
    /// Served here.
    pub embeddings: Arc<E>,
    /// Served here.
    pub cache: Arc<Cache>,
    /// Served here.
    pub migrations: Arc<Migrations>,
    /// What is OpenAI-compatible, for requests that have been let in.
    pub openai: OpenAi,
    /// Served elsewhere.
    pub upstreams: Upstreams,
    /// Keys.
    pub subscription: Subscription,
    /// Which keys are used.
    pub key_uses: KeyUse,
    /// Where calls are recorded.
    pub api_calls: ApiCalls,
    /// For what outlives a request.
    pub tasks: Tasks,
    /// Health and metrics.
    pub ops: Ops,
    /// Counts gRPC calls.
    pub grpc_metrics: GrpcMetrics,
    /// The time of day.
    pub clock: Clock,
}

/// All that a client can reach.
pub(crate) async fn router<E: Embeddings>(
    settings: &Settings,
    parts: EdgeParts<E>,
) -> Result<Router, StartError> {
    let app = Arc::new(App {
        backends: Backends::new(
            parts.embeddings.clone(),
            parts.cache.clone(),
            parts.migrations.clone(),
            &parts.upstreams,
        ),
        authenticator: Authenticator::new(parts.subscription, parts.clock.clone(), parts.key_uses),
        metrics: HttpMetrics::new(&parts.ops.metrics)?,
        api_calls: parts.api_calls,
        tasks: parts.tasks,
        clock: parts.clock,
        max_body_bytes: settings.max_body_bytes,
        request_timeout: Duration::from_secs(settings.request_timeout_seconds),
        metrics_allow: settings.metrics_allow.clone(),
    });
    let own = (parts.embeddings, parts.cache, parts.migrations);
    let grpc = public_grpc::router(&app, own, &parts.upstreams, parts.grpc_metrics).await?;
    let lookups = parts.openai.lookups.route_layer(from_fn_with_state(app.clone(), admit_lookup));
    // taken by the front; here for the answer to other methods
    let lookups = lookups.route(EMBEDDINGS, post(no_such_method));
    let http =
        rest::routes().with_state(app.clone()).merge(lookups).merge(operations(&parts.ops, app.clone()));
    let routes = grpc
        .reset_fallback()
        .merge(http)
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(app.clone(), observe_route));
    Ok(Router::new().fallback_service(Front::new(app, parts.openai.embeddings, routes)))
}

#[cfg(test)]
mod tests;
