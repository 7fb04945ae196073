use axum::body::Body;
use embermesh_subscription::TenantEntry;
use embermesh_transport::Peer;
use http::Request;

use super::harness::{Got, TestEdge};
use crate::Settings;

async fn get_from(edge: &TestEdge, peer: &str, path: &str, key: Option<&str>) -> Got {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer(peer.parse().unwrap()));
    if let Some(key) = key {
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
    }
    edge.send(request).await
}

#[tokio::test]
async fn what_tells_about_the_process_is_for_peers_nearby_and_for_keys() {
    let settings = Settings { metrics_allow: vec!["10.0.0.0/8".parse().unwrap()], ..Settings::default() };
    let edge = TestEdge::with(settings, &[&["read"], &["admin"], &["embed"]]).await;
    let far = "192.0.2.1:5000";
    for path in ["/metrics", "/version", "/openapi.json"] {
        for (peer, key, status) in [
            ("127.0.0.1:5000", None, 200),
            ("[::1]:5000", None, 200),
            ("10.9.9.9:5000", None, 200),
            (far, None, 401),
            (far, Some(&edge.keys[0]), 200),
            (far, Some(&edge.keys[1]), 200),
            (far, Some(&edge.keys[2]), 403),
        ] {
            let got = get_from(&edge, peer, path, key.map(|key| key.reveal())).await;
            assert_eq!(got.status.as_u16(), status, "{path} {peer}");
        }
    }
}

#[tokio::test]
async fn metrics_name_agents_of_every_tenant_so_from_afar_they_are_the_operators() {
    let edge = TestEdge::of(TenantEntry::default(), Settings::default(), &[&["admin"]]).await;
    let key = Some(edge.keys[0].reveal());
    assert_eq!(get_from(&edge, "192.0.2.1:5000", "/metrics", key).await.status, 403);
    for path in ["/version", "/openapi.json"] {
        assert_eq!(get_from(&edge, "192.0.2.1:5000", path, key).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn health_is_for_everybody() {
    let edge = TestEdge::start().await;
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(get_from(&edge, "192.0.2.1:5000", path, None).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_documents_are_what_they_say() {
    let edge = TestEdge::start().await;
    let version = get_from(&edge, "127.0.0.1:5", "/version", None).await.json();
    assert_eq!(
        (&version["name"], &version["version"]),
        (&"embermesh".into(), &env!("CARGO_PKG_VERSION").into())
    );
    let document = get_from(&edge, "127.0.0.1:5", "/openapi.json", None).await;
    assert_eq!(
        (document.header("content-type"), &document.json()["openapi"]),
        ("application/json", &"3.1.0".into())
    );
    let metrics = get_from(&edge, "127.0.0.1:5", "/metrics", None).await;
    assert!(
        metrics.body.contains(r#"http_requests_total{method="GET",path="/version",status="200"} 1"#),
        "{}",
        metrics.body
    );
}
