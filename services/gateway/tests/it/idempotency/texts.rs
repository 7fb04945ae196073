use embermesh_proto::v1::{EmbedRequest, embeddings_client::EmbeddingsClient};
use embermesh_transport::{HttpLimits, serve};
use serde_json::json;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use super::world::{EMBED, LONG_AFTER, World};

#[tokio::test]
async fn a_repeat_is_the_same_answer_byte_for_byte_and_is_embedded_once() {
    let world = World::new().await;
    for (at, body) in [
        json!({"text": "joe@example.com", "metadata": {"from": "joe@example.com", "n": 1.0}, "context_id": "c"}),
        json!({"text": "not kept", "store": false, "dimensions": 7}),
        json!({"text": "without its vector", "return_vector": false}),
    ]
    .iter()
    .enumerate()
    {
        let key = format!("k{at}");
        let first = world.send(EMBED, &key, body).await.ok();
        assert!(first.body.contains(r#""cost_usd":0.00000002,"#), "{first:?}");
        assert_eq!((&first.json()["cached"], &first.json()["request_id"]), (&json!(false), &json!(key)));
        assert!(!first.body.contains("joe@"), "{first:?}");
        for _ in 0..3 {
            assert_eq!(world.send(EMBED, &key, body).await, first);
        }
        // the field is the same key
        let mut with_field = body.clone();
        with_field["request_id"] = key.into();
        assert_eq!(world.send(EMBED, "", &with_field).await, first);
    }
    assert_eq!(world.provider.texts().len(), 3);
}

#[tokio::test]
async fn another_body_is_a_conflict_and_does_nothing() {
    let world = World::new().await;
    let body = json!({"text": "x", "metadata": {"a": 1}});
    let first = world.send(EMBED, "k", &body).await.ok();
    for (field, value) in [
        ("text", json!("y")),
        ("agent_id", json!("other-agent")),
        ("metadata", json!({"a": 2})),
        ("store", json!(false)),
        ("return_vector", json!(false)),
        ("dimensions", json!(8)),
    ] {
        let mut other = body.clone();
        other[field] = value;
        let got = world.send(EMBED, "k", &other).await.refused(409, "conflict");
        assert_eq!(got.json()["error"]["param"], "Idempotency-Key");
        assert_eq!(got.retry_after, None, "another time is no better");
    }
    assert_eq!(world.send(EMBED, "k", &body).await, first);
    assert_eq!(world.provider.texts().len(), 1);
    let two_keys = json!({"text": "x", "request_id": "other"});
    assert_eq!(
        world.send(EMBED, "k", &two_keys).await.refused(400, "invalid_request").json()["error"]["param"],
        "request_id"
    );
}

#[tokio::test]
async fn tenants_and_agents_with_keys_of_their_own_share_no_idempotency_key() {
    let world = World::new().await;
    for (at, of) in [0, 1, 2, 3].into_iter().enumerate() {
        let body = json!({"text": format!("of {of}")});
        let first = world.send_as(of, EMBED, "k", &body).await.ok();
        assert_eq!(world.send_as(of, EMBED, "k", &body).await, first);
        assert_eq!(world.provider.texts().len(), at + 1);
    }
}

#[tokio::test]
async fn a_day_later_the_key_is_new() {
    let world = World::new().await;
    let body = json!({"text": "x", "store": false});
    let first = world.send(EMBED, "k", &body).await.ok();
    world.clock.advance(24 * 3600 * std::time::Duration::from_secs(1) - LONG_AFTER);
    assert_eq!(world.send(EMBED, "k", &body).await, first);
    world.clock.advance(LONG_AFTER);
    let second = world.send(EMBED, "k", &json!({"text": "y", "store": false})).await.ok();
    assert_ne!(second.body, first.body);
    assert_eq!(world.provider.texts(), ["x", "y"]);
}

#[tokio::test]
async fn a_row_that_was_deleted_since_is_made_anew() {
    let world = World::new().await;
    let body = json!({"text": "x"});
    let first = world.send(EMBED, "k", &body).await.ok().json();
    let gone = json!({"embedding_ids": [first["embedding_id"]]});
    assert_eq!(world.send("/api/v1/embeddings/delete", "", &gone).await.json()["count"], 1);
    let again = world.send(EMBED, "k", &body).await.ok().json();
    assert_ne!(again["embedding_id"], first["embedding_id"]);
    assert_eq!(again["deduplicated"], false);
}

#[tokio::test]
async fn over_grpc_too() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = serve(listener, world.app(), None, HttpLimits::default(), world.tasks.clone());
    world.tasks.spawn("serve", serving);
    let client = EmbeddingsClient::new(Channel::from_shared(url).unwrap().connect().await.unwrap());
    let embed = async |text: &str| {
        let message = EmbedRequest { text: text.into(), store: Some(false), ..Default::default() };
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("x-api-key", world.key(0).parse().unwrap());
        request.metadata_mut().insert("idempotency-key", "k".parse().unwrap());
        client.clone().embed(request).await
    };
    let first = embed("x").await.unwrap();
    let again = embed("x").await.unwrap();
    assert_eq!(again.get_ref(), first.get_ref());
    for name in ["space", "provider", "cached", "cost-usd"] {
        let name = format!("x-embermesh-{name}");
        assert_eq!(again.metadata().get(&name).unwrap(), first.metadata().get(&name).unwrap());
    }
    assert_eq!(embed("y").await.unwrap_err().code(), tonic::Code::AlreadyExists);
    // one answer for both protocols
    let rest = world.send(EMBED, "k", &json!({"text": "x", "store": false})).await.ok();
    let vector: Vec<f32> = serde_json::from_value(rest.json()["embedding"].clone()).unwrap();
    assert_eq!(vector, first.get_ref().embedding);
    assert_eq!(world.provider.texts(), ["x"]);
}
