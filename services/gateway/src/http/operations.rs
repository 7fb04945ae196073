//! The routes about the process itself: health, metrics, version, and the description of the API.

use std::net::IpAddr;

use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::get,
};
use embermesh_auth::Scope;
use embermesh_transport::{Ops, Peer};
use http::header::CONTENT_TYPE;
use ipnet::IpNet;
use serde_json::json;

use super::{Failure, admit_request, context};
use crate::{authorise::require_operator, edge::AppState};

/// Made from the contracts by the build script.
pub(crate) const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// Names agents and budgets of every tenant.
const METRICS: &str = "/metrics";

/// Health for everybody; the rest for peers nearby, and for keys.
pub(crate) fn operations(ops: &Ops, app: AppState) -> Router {
    let version = || async { Json(json!({"name": "embermesh", "version": env!("CARGO_PKG_VERSION")})) };
    let openapi = || async { ([(CONTENT_TYPE, "application/json")], OPENAPI) };
    let guarded = ops.metrics_router().route("/version", get(version)).route("/openapi.json", get(openapi));
    guarded.route_layer(from_fn_with_state(app, guard)).merge(ops.health_router())
}

async fn guard(State(app): State<AppState>, request: Request, next: Next) -> Result<Response, Failure> {
    let near =
        request.extensions().get::<Peer>().is_some_and(|peer| is_near(peer.0.ip(), &app.metrics_allow));
    if near {
        return Ok(next.run(request).await);
    }
    let request = admit_request(&app, request, &[Scope::Read])?;
    if request.uri().path() == METRICS {
        let tenant = context(request.extensions())?.principal.tenant;
        require_operator(app.authenticator.is_operator(tenant))?;
    }
    Ok(next.run(request).await)
}

fn is_near(peer: IpAddr, networks: &[IpNet]) -> bool {
    // on a listener for both families, IPv4 peers come as IPv6
    let peer = peer.to_canonical();
    peer.is_loopback() || networks.iter().any(|network| network.contains(&peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_loopback_and_the_networks_named() {
        let networks = ["10.0.0.0/8".parse().unwrap()];
        for (peer, near) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.200.0.1", true),
            ("::ffff:10.200.0.1", true),
            ("11.0.0.1", false),
            ("192.168.0.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_near(peer.parse().unwrap(), &networks), near, "{peer}");
        }
    }
}
