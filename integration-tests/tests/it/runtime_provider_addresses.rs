//! The addresses that hide inside a provider of the API: where Vertex fetches its tokens, where AWS takes on a role. One that the
//! configuration file does not allow is connected to by nobody, whatever admin believed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use embermesh_testing::sim::{DeploymentSpec, Simulator};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    client::Client,
    running::{Running, wait_until},
    simulated::{QUIET, unstored, yaml},
};

const PROVIDERS: &str = "/api/v1/admin/providers";
const ENGLISH: &str = "text-embedding-005";
const TITAN: &str = "titan-embed-text-v2";

/// Something of the operator's that no provider is to reach: counts who connects, and tells them nothing.
struct Inside {
    address: String,
    connections: Arc<AtomicUsize>,
}

impl Inside {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        #[expect(clippy::disallowed_methods, reason = "lives as long as the test's runtime")]
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Two providers whose own addresses are the known ones, and whose tokens come from `inside`.
async fn hidden(inside: &Inside) -> [Value; 2] {
    let simulator = Simulator::start(&[DeploymentSpec::named("account")]).await.unwrap();
    let mut key: Value = serde_json::from_str(&simulator.deployments()[0].google_key_file()).unwrap();
    key["token_uri"] = json!(format!("http://{}/token", inside.address));
    let vertex = json!({
        "name": "vertex", "project": "acme", "region": "europe-west4", "models": [ENGLISH],
        "service_account_key": key.to_string(),
    });
    let bedrock = json!({
        "name": "bedrock", "region": "eu-west-1", "models": [TITAN], "access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "secret_access_key": "a-secret-of-the-account", "assume_role_arn": "arn:aws:iam::123456789012:role/embeddings",
        "sts_url": format!("http://{}", inside.address),
    });
    [vertex, bedrock]
}

fn security(hosts: &str) -> String {
    format!("security: {{provider_hosts: {hosts}, credential_keys: '1:{}'}}", "ab".repeat(32))
}

#[tokio::test]
async fn an_address_inside_a_credential_is_refused_like_any_other() {
    let inside = Inside::start().await;
    let running = Running::five(&yaml(&[], &[QUIET, &security("[known]")])).await;
    for (provider, param) in hidden(&inside).await.iter().zip(["service_account_key", "sts_url"]) {
        let answer = running.admin().post(PROVIDERS, provider.clone()).await;
        answer.refused(400, "invalid_request");
        assert_eq!(answer.body["error"]["param"], param, "{}", answer.body);
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_router_connects_to_no_token_endpoint_that_its_own_file_forbids() {
    let inside = Inside::start().await;
    // admin has been told that the address is fine, and so has the first router
    let lax = format!("[known, '{}']", inside.address);
    let mut running = Running::five(&yaml(&[], &[QUIET, &security(&lax)])).await;
    let strict = [("EMBERMESH__EMBEDDING__SECURITY__PROVIDER_HOSTS", "[known]")];
    let url = running.another_pair_with(&strict).await;
    running.process("provider-router").kill();
    for provider in hidden(&inside).await {
        let made = running.admin().post(PROVIDERS, provider).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }
    let key = running.keys["agent_key"].as_str().unwrap();
    let (agent, admin) =
        (Client::new(&url, key), Client::new(&url, running.keys["admin_key"].as_str().unwrap()));
    for (name, model, option) in [("vertex", ENGLISH, "service_account_key"), ("bedrock", TITAN, "sts_url")] {
        let health = || async {
            admin.get("/api/v1/embeddings/providers/health").await.ok()["providers"][name].clone()
        };
        wait_until(|| async { health().await["status"] == "unhealthy" }).await;
        let answer = agent.post("/api/v1/embeddings", unstored("a", "a text", Some(model))).await;
        answer.refused(503, "unavailable");
        let health = health().await;
        assert!(health["error"].as_str().unwrap().starts_with(option), "{health}");
        admin.post(&format!("/api/v1/admin/providers/{name}/health-check"), json!({})).await;
    }
    assert_eq!(inside.connections(), 0);
    // the one that may go there does, so that the count above says something
    running.start_again("provider-router").await;
    wait_until(|| async {
        let answer = running.agent().post("/api/v1/embeddings", unstored("a", "a text", Some(ENGLISH))).await;
        assert_ne!(answer.status, 200, "{}", answer.body);
        inside.connections() > 0
    })
    .await;
}
