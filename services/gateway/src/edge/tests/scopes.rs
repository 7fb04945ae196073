use axum::body::Body;
use embermesh_auth::Scope;
use embermesh_subscription::TenantEntry;
use http::{Method, Request};
use serde_json::Value;

use super::harness::{Got, TestEdge};
use crate::{Settings, http::OPENAPI};

/// A public method, as the document tells it.
#[derive(Debug)]
pub(super) struct Documented {
    pub verb: Method,
    pub path: String,
    pub grpc: String,
    pub scopes: Vec<String>,
    pub operator: bool,
}

/// The methods of the contracts, without the hand-written routes.
pub(super) fn documented() -> Vec<Documented> {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (verb, operation) in operations.as_object().unwrap() {
            if !path.starts_with("/api/") {
                continue;
            }
            let service = operation["tags"][0].as_str().unwrap();
            let id = operation["operationId"].as_str().unwrap();
            let method: String = id
                .strip_prefix(&format!("{}_", service.to_lowercase()))
                .unwrap()
                .split('_')
                .map(camel)
                .collect();
            let scopes = operation["security"][0]["ApiKey"].as_array().unwrap();
            all.push(Documented {
                verb: verb.to_uppercase().parse().unwrap(),
                path: path.clone(),
                grpc: format!("/embermesh.v1.{service}/{method}"),
                scopes: scopes.iter().map(|scope| scope.as_str().unwrap().to_owned()).collect(),
                operator: operation["x-operator-only"] == true,
            });
        }
    }
    all
}

fn camel(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

async fn rest(edge: &TestEdge, key: &str, method: &Documented) -> Got {
    let path = method.path.replace(['{', '}'], "");
    let request = Request::builder().method(&method.verb).uri(path).header("x-api-key", key);
    edge.send(request.body(Body::empty()).unwrap()).await
}

async fn grpc(edge: &TestEdge, key: &str, method: &Documented) -> Got {
    let request = Request::post(&method.grpc)
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {key}"));
    edge.send_grpc(request).await
}

#[tokio::test]
async fn every_method_is_open_to_its_scopes_and_to_no_other() {
    let scopes = Scope::ALL.map(|scope| [scope.as_str()]);
    let scopes: Vec<&[&str]> = scopes.iter().map(|scope| scope.as_slice()).collect();
    let edge = TestEdge::with(Settings::default(), &scopes).await;
    let methods = documented();
    assert!(methods.len() >= 24, "{}", methods.len());
    for method in &methods {
        for (key, scope) in edge.keys.iter().zip(Scope::ALL) {
            let allowed = scope == Scope::Admin || method.scopes.iter().any(|name| name == scope.as_str());
            let got = rest(&edge, key.reveal(), method).await;
            assert_eq!(got.status.as_u16() != 403, allowed, "{method:?} {scope:?} {got:?}");
            assert_ne!(got.status, 401);
            let called = grpc(&edge, key.reveal(), method).await;
            assert_eq!(called.header("grpc-status") != "7", allowed, "{method:?} {scope:?} {called:?}");
            assert_ne!(called.header("grpc-status"), "16");
            if !allowed {
                let message = got.error()["message"].as_str().unwrap().to_owned();
                assert!(method.scopes.iter().all(|scope| message.contains(scope)), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn what_concerns_everybody_is_closed_to_every_other_tenant() {
    let edge = TestEdge::of(TenantEntry::default(), Settings::default(), &[&["admin"]]).await;
    let mut refused = Vec::new();
    for method in documented() {
        let got = rest(&edge, edge.keys[0].reveal(), &method).await;
        assert_eq!(got.status == 403, method.operator, "{method:?} {got:?}");
        let called = grpc(&edge, edge.keys[0].reveal(), &method).await;
        assert_eq!(called.header("grpc-status") == "7", method.operator, "{method:?} {called:?}");
        if method.operator {
            let message = got.error()["message"].as_str().unwrap().to_owned();
            assert!(message.contains("operator's tenant"), "{message}");
            refused.push(method.grpc);
        }
    }
    for expected in ["Operations/ResetCircuitBreaker", "Catalog/AddPrice", "Tenants/CreateTenant"] {
        assert!(refused.iter().any(|path| path.ends_with(expected)), "{expected} is open: {refused:?}");
    }
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_everywhere_and_told_so_and_a_closed_one_is_unknown() {
    for (tenant, status, grpc_status) in [
        (TenantEntry { suspended: true, ..TenantEntry::default() }, 403, "7"),
        (TenantEntry { suspended: true, closed: true, ..TenantEntry::default() }, 401, "16"),
    ] {
        let edge = TestEdge::of(tenant, Settings::default(), &[&["admin"]]).await;
        let key = edge.keys[0].reveal();
        for method in documented() {
            let got = rest(&edge, key, &method).await;
            assert_eq!(got.status, status, "{method:?} {got:?}");
            let told = got.error()["message"].as_str().unwrap().contains("the tenant is suspended");
            assert_eq!(told, status == 403, "{got:?}");
            assert_eq!(grpc(&edge, key, &method).await.header("grpc-status"), grpc_status, "{method:?}");
        }
        for path in ["/v1/embeddings", "/v1/models"] {
            let verb = if path == "/v1/models" { Method::GET } else { Method::POST };
            let request = edge.request(verb, path).body(Body::empty()).unwrap();
            assert_eq!(edge.send(request).await.status, status, "{path}");
        }
    }
}

#[tokio::test]
async fn no_method_is_open_without_a_key() {
    let edge = TestEdge::start().await;
    for method in documented() {
        assert_eq!(rest(&edge, "none", &method).await.status, 401, "{method:?}");
        assert_eq!(grpc(&edge, "none", &method).await.header("grpc-status"), "16", "{method:?}");
    }
}

#[tokio::test]
async fn the_openai_routes_need_a_key_that_may_embed() {
    let edge = TestEdge::with(Settings::default(), &[&["embed"], &["read"], &["search"]]).await;
    let send = async |verb: Method, path: &str, key: &str| {
        edge.send(
            Request::builder().method(verb).uri(path).header("x-api-key", key).body(Body::empty()).unwrap(),
        )
        .await
    };
    let keys: Vec<&str> = edge.keys.iter().map(|key| key.reveal()).collect();
    let got = send(Method::POST, "/v1/embeddings", keys[0]).await;
    assert_eq!(got.json()["key"], edge.keys[0].id().as_str());
    for (verb, path, key, status) in [
        (Method::POST, "/v1/embeddings", keys[1], 403),
        (Method::POST, "/v1/embeddings", "none", 401),
        (Method::GET, "/v1/models", keys[0], 200),
        (Method::GET, "/v1/models", keys[1], 200),
        (Method::GET, "/v1/models", keys[2], 403),
        (Method::GET, "/v1/models", "none", 401),
    ] {
        assert_eq!(send(verb.clone(), path, key).await.status.as_u16(), status, "{verb} {path}");
    }
}
