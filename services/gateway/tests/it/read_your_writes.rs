use embermesh_proto::v1::{CreateKeyRequest, keys_client::KeysClient};
use http::StatusCode;
use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_works_and_is_gone_as_soon_as_the_answer_says_so() {
    let world = World::new().await;
    for _ in 0..40 {
        let made = world.admin("/api/v1/admin/keys", json!({"name": "ci"})).await;
        let key = made["key"].as_str().unwrap();
        assert_eq!(world.models(key).await.0, StatusCode::OK);
        world.admin(&format!("/api/v1/admin/keys/{}/revoke", made["id"].as_str().unwrap()), json!({})).await;
        assert_eq!(world.models(key).await.0, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_made_over_grpc_works_at_once() {
    let world = World::new().await;
    let mut keys = KeysClient::new(world.channel().await);
    for _ in 0..40 {
        let message = CreateKeyRequest { name: "ci".to_owned(), ..CreateKeyRequest::default() };
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("x-api-key", world.keys.admin.reveal().parse().unwrap());
        let made = keys.create_key(request).await.unwrap().into_inner();
        assert_eq!(world.models(&made.key).await.0, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_listed_as_soon_as_it_is_in_the_catalog() {
    let world = World::new().await;
    for n in 0..20 {
        let id = format!("acme-{n}");
        let model = json!({
            "id": id, "family": id, "native_dimensions": 8, "max_input_tokens": 512, "max_batch": 8,
            "tokenizer": "bytes", "provider_kinds": ["openai"], "prices": [{"per_million_tokens_usd": 0}],
        });
        world.admin("/api/v1/embedding-models/catalog", model).await;
        let (_, models) = world.models(world.keys.agent.reveal()).await;
        let listed = models["data"].as_array().unwrap().iter().any(|model| model["id"] == id);
        assert!(listed, "{id} in {models}");
    }
}
