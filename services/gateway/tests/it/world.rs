//! A gateway over a control plane of its own.

use axum::{Router, body::Body};
use embermesh_admin::{AdminService, FirstKeys, FirstStart};
use embermesh_gateway::{Gateway, Parts, Settings};
use embermesh_lifecycle::{Readiness, Tasks};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::internal::v1::Section;
use embermesh_subscription::{Options, Subscription, Surroundings};
use embermesh_telemetry::Metrics;
use embermesh_transport::{GrpcMetrics, HttpLimits, InProcess, serve};
use embermesh_types::Clock;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tower::ServiceExt;

pub(crate) struct World {
    _database: TestDatabase,
    pub(crate) app: Router,
    pub(crate) keys: FirstKeys,
    /// What the gateway knows.
    pub(crate) subscription: Subscription,
    pub(crate) tasks: Tasks,
}

impl World {
    pub(crate) async fn new() -> Self {
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
            .service(admin.budgets_server())
            .service(admin.tenants_server())
            .service(admin.policies_server())
            .service(admin.providers_server())
            .service(admin.config_server())
            .service(admin.settings_server())
            .transport();
        let options = Options {
            subscriber: "gateway",
            condition: None,
            sections: vec![
                Section::Keys,
                Section::Agents,
                Section::Catalog,
                Section::Budgets,
                Section::Tenants,
                Section::Policies,
            ],
            disk_copy: None,
        };
        let readiness = Readiness::default();
        let surroundings = Surroundings { tasks: &tasks, readiness: &readiness, metrics: &metrics };
        let subscription = Subscription::start(services.clone(), options, &surroundings);
        subscription.changes().wait_for(|version| *version > 0).await.unwrap();
        let parts = Parts {
            router: services.clone(),
            store: services.clone(),
            ledger: services.clone(),
            admin: services,
            subscription: subscription.clone(),
            tasks: tasks.clone(),
            readiness: Readiness::default(),
            metrics,
            grpc_metrics,
            clock: Clock::system(),
        };
        let app = Gateway::start(&Settings::default(), parts).await.unwrap().app();
        Self { _database: database, app, keys, subscription, tasks }
    }

    /// A REST call; what came back.
    pub(crate) async fn send(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let request = Request::builder().method(method.clone()).uri(path).header("x-api-key", key);
        let body = if body.is_null() { Body::empty() } else { body.to_string().into() };
        let request = request.header("content-type", "application/json").body(body).unwrap();
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        assert!(!parts.headers.contains_key("x-embermesh-config-version"));
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, serde_json::from_slice(&body).unwrap())
    }

    /// A POST of the first admin that succeeds.
    pub(crate) async fn admin(&self, path: &str, body: Value) -> Value {
        let (status, made) = self.send(self.keys.admin.reveal(), Method::POST, path, body).await;
        assert!(status.is_success(), "{path}: {status} {made}");
        made
    }

    pub(crate) async fn models(&self, key: &str) -> (StatusCode, Value) {
        self.send(key, Method::GET, "/v1/models", Value::Null).await
    }

    /// A connection to the gateway, served on a port of its own.
    pub(crate) async fn channel(&self) -> Channel {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = serve(listener, self.app.clone(), None, HttpLimits::default(), self.tasks.clone());
        self.tasks.spawn("serve", serving);
        Channel::from_shared(url).unwrap().connect().await.unwrap()
    }
}
