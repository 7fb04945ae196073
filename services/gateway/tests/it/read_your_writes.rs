use axum::{Router, body::Body};
use embermesh_admin::{AdminService, FirstKeys, FirstStart};
use embermesh_gateway::{Gateway, Parts, Settings};
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::{
    internal::v1::{Section, config_client::ConfigClient},
    v1::{CreateKeyRequest, keys_client::KeysClient},
};
use embermesh_subscription::{Options, Subscription};
use embermesh_telemetry::Metrics;
use embermesh_transport::{GrpcMetrics, HttpLimits, InProcess, serve};
use embermesh_types::Clock;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tower::ServiceExt;

struct World {
    _database: TestDatabase,
    app: Router,
    keys: FirstKeys,
    tasks: Tasks,
}

impl World {
    async fn new() -> Self {
        let database = TestDatabase::create().await;
        let (tasks, metrics) = (Tasks::new(), Metrics::default());
        let parts = embermesh_admin::Parts {
            database_url: database.url().clone(),
            tasks: tasks.clone(),
            readiness: Readiness::default(),
            metrics: metrics.clone(),
            clock: Clock::system(),
        };
        let admin = AdminService::start(embermesh_admin::Settings::default(), parts).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys.json");
        let FirstStart::Created(keys) = admin.ensure_first_keys("http://127.0.0.1:1", &file).await.unwrap()
        else {
            panic!("a new database has no tenant")
        };
        let grpc_metrics = GrpcMetrics::new(&metrics).unwrap();
        let services = InProcess::new(grpc_metrics.clone())
            .service(admin.agents_server())
            .service(admin.keys_server())
            .service(admin.catalog_server())
            .service(admin.config_server())
            .transport();
        let options = Options {
            subscriber: "gateway",
            sections: vec![Section::Keys, Section::Agents, Section::Catalog],
            disk_copy: None,
        };
        let ready = Readiness::default().condition("configuration");
        let subscription = Subscription::start(ConfigClient::new(services.clone()), options, &tasks, ready);
        subscription.changes().wait_for(|version| *version > 0).await.unwrap();
        let parts = Parts {
            router: services.clone(),
            store: services.clone(),
            ledger: services.clone(),
            admin: services,
            subscription,
            tasks: tasks.clone(),
            readiness: Readiness::default(),
            metrics,
            grpc_metrics,
            clock: Clock::system(),
        };
        let app = Gateway::start(&Settings::default(), parts).await.unwrap().app();
        Self { _database: database, app, keys, tasks }
    }

    async fn send(&self, key: &str, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder().method(method.clone()).uri(path).header("x-api-key", key);
        let body = if method == Method::GET { Body::empty() } else { body.to_string().into() };
        let request = request.header("content-type", "application/json").body(body).unwrap();
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        assert!(!parts.headers.contains_key("x-embermesh-config-version"));
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, serde_json::from_slice(&body).unwrap())
    }

    async fn admin(&self, path: &str, body: Value) -> Value {
        let (status, made) = self.send(self.keys.admin.reveal(), Method::POST, path, body).await;
        assert!(status.is_success(), "{path}: {status} {made}");
        made
    }

    async fn models(&self, key: &str) -> (StatusCode, Value) {
        self.send(key, Method::GET, "/v1/models", Value::Null).await
    }
}

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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = serve(listener, world.app.clone(), None, HttpLimits::default(), world.tasks.clone());
    world.tasks.spawn("serve", serving);
    let mut keys = KeysClient::new(Channel::from_shared(url).unwrap().connect().await.unwrap());
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
