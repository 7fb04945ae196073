use axum::body::Body;
use embermesh_proto::v1::{EmbedRequest, embeddings_client::EmbeddingsClient};
use http::Request;
use tonic::{Code, metadata::MetadataMap, transport::Channel};

use super::harness::{Got, TENANT, TestEdge, told};

impl TestEdge {
    /// One call with an empty message.
    pub async fn send_grpc(&self, request: http::request::Builder) -> Got {
        let request = request.header("te", "trailers").body(Body::from(vec![0_u8; 5])).unwrap();
        let (parts, body) = tower::ServiceExt::oneshot(self.app.clone(), request).await.unwrap().into_parts();
        drop(body);
        Got { status: parts.status, headers: parts.headers, body: String::new() }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.listen().await)).unwrap().connect().await.unwrap()
    }
}

fn dress(metadata: &mut MetadataMap, key: &str) {
    metadata.insert("authorization", format!("Bearer {key}").parse().unwrap());
    metadata.insert("idempotency-key", "k-1".parse().unwrap());
}

#[tokio::test]
async fn a_client_gets_what_rest_gets() {
    let edge = TestEdge::start().await;
    let mut client = EmbeddingsClient::new(edge.channel().await);
    let mut request = tonic::Request::new(EmbedRequest { text: "t".into(), ..Default::default() });
    dress(request.metadata_mut(), edge.keys[0].reveal());
    let answer = client.embed(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-embermesh-space").unwrap(), "local/m@2");
    let told = told(&answer.get_ref().metadata);
    assert_eq!((&told["tenant"], &told["idempotency_key"]), (&TENANT.into(), &"k-1".into()));
    assert_eq!(told["request_id"], answer.metadata().get("x-request-id").unwrap().to_str().unwrap());
}

#[tokio::test]
async fn refusals_are_statuses() {
    let edge = TestEdge::start().await;
    let mut client = EmbeddingsClient::new(edge.channel().await);
    let refused = client.embed(EmbedRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("X-API-Key"));
    for (text, code) in [("limited", Code::ResourceExhausted), ("panic", Code::Internal)] {
        let mut request = tonic::Request::new(EmbedRequest { text: text.into(), ..Default::default() });
        dress(request.metadata_mut(), edge.keys[0].reveal());
        assert_eq!(client.embed(request).await.unwrap_err().code(), code, "{text}");
    }
    let text = edge.metrics.render();
    let line = r#"http_requests_total{method="POST",path="/embermesh.v1.Embeddings/Embed",status="429"} 1"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_clients_own_deadline_holds() {
    let edge = TestEdge::start().await;
    let mut message = vec![0, 0, 0, 0, 7, 0x12, 5];
    message.extend_from_slice(b"never");
    let request = Request::post("/embermesh.v1.Embeddings/Embed")
        .header("content-type", "application/grpc")
        .header("x-api-key", edge.keys[0].reveal())
        .header("grpc-timeout", "50m");
    let answer = tower::ServiceExt::oneshot(edge.app.clone(), request.body(Body::from(message)).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4");
}

#[tokio::test]
async fn a_path_that_a_client_made_up_is_no_label() {
    let edge = TestEdge::start().await;
    for (path, content_type) in [
        ("/embermesh.v1.Embeddings/MadeUp1", "application/json"),
        ("/embermesh.v1.Embeddings/MadeUp2", "application/grpc"),
        ("/embermesh.v1.Agents/MadeUp3", "text/plain"),
        ("/MadeUp4", "application/grpc"),
    ] {
        for timeout in ["1H", "0n"] {
            let request = Request::post(path).header("content-type", content_type);
            edge.send_grpc(request.header("grpc-timeout", timeout)).await;
        }
    }
    // one that exists counts
    let request = Request::post("/embermesh.v1.Embeddings/Embed").header("content-type", "application/grpc");
    edge.send_grpc(request).await;
    let text = edge.metrics.render();
    assert!(text.contains(r#"grpc_method="Embed""#), "{text}");
    assert!(!text.contains("MadeUp"), "{text}");
}

#[tokio::test]
async fn methods_that_do_not_exist_are_unimplemented() {
    let edge = TestEdge::start().await;
    for path in [
        "/embermesh.v1.Embeddings/Nothing",
        "/embermesh.v1.Nothing/Embed",
        "/nothing",
        "/embermesh.internal.v1.Router/Embed",
    ] {
        let got = edge.send_grpc(Request::post(path).header("content-type", "application/grpc+proto")).await;
        assert_eq!((got.status.as_u16(), got.header("grpc-status")), (200, "12"), "{path}");
    }
}

#[tokio::test]
async fn health_and_reflection_need_no_key() {
    let edge = TestEdge::start().await;
    for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"]
    {
        let got = edge.send_grpc(Request::post(path).header("content-type", "application/grpc")).await;
        assert_eq!((got.status.as_u16(), got.header("grpc-status")), (200, ""), "{path}");
    }
}
