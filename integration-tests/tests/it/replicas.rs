//! Read replicas from the outside: a real standby of a real primary, tokens over the public API. The checks by the thousand, with replicas that are
//! stopped, held back and promoted, are the store's own tests.

use std::{path::Path, process::Command};

use embermesh_private_postgres::{Options, PrivatePostgres, Standby, test_options};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::Client,
    running::{Running, bin, free_port, wait_until},
};

const EMBED: &str = "/api/v1/embeddings";
const SEARCH: &str = "/api/v1/embeddings/search";
const CROSS: &str = "/api/v1/embeddings/search/cross-model";

struct World {
    running: Running,
    standby: Standby,
    client: Client,
    primary_url: String,
    dir: TempDir,
    _primary: PrivatePostgres,
}

impl World {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let options = Options { durable: true, ..test_options(&dir.path().join("primary")) };
        let primary = PrivatePostgres::start(options).await.unwrap();
        let standby = Standby::of(&primary, "embeddings", &dir.path().join("standby")).await;
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let primary_url = primary.connection_url().expose_secret().to_owned();
        let running = Running::up(&home, &yaml(&standby), Some(&primary_url), free_port()).await;
        let client = running.agent();
        Self { running, standby, client, primary_url, dir, _primary: primary }
    }

    async fn store(&self, text: &str) -> Value {
        let body = json!({"agent_id": "a", "text": text, "context_id": text, "return_vector": false});
        self.client.post(EMBED, body).await.ok()
    }

    /// How many rows a search in the context of one text finds.
    async fn found(&self, path: &str, text: &str, more: Value) -> usize {
        let mut body = json!({"agent_id": "a", "query": text, "context_id": text});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.client.post(path, body).await.ok()["results"].as_array().unwrap().len()
    }

    async fn metric(&self, series: &str) -> f64 {
        let text = self.client.get("/metrics").await.body;
        let line = text.as_str().unwrap().lines().find(|line| line.starts_with(series));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// What the doctor says of the replica.
    fn doctor(&self) -> String {
        let config = self.dir.path().join("home/embermesh.yaml");
        let doctor = Command::new(bin("embermesh"))
            .args(["doctor", "--config"])
            .arg(config)
            .env("DATABASE_URL", &self.primary_url)
            .env("EMBERMESH_URL", &self.running.url)
            .output()
            .unwrap();
        let text = String::from_utf8(doctor.stdout).unwrap();
        text.lines().find(|line| line.contains("replica ")).unwrap_or_else(|| panic!("{text}")).to_owned()
    }
}

fn yaml(standby: &Standby) -> String {
    let minilm = crate::running::tools().join("minilm");
    format!(
        "database: {{read_replica_pool: {{urls: ['{}'], max_open_conns: 200, max_idle_conns: 50}}}}\n\
         embedding: {{router: {{local_model_dir: '{}'}}}}\n",
        standby.url().expose_secret(),
        Path::new(&minilm).display()
    )
}

const FOLLOWS: &str = r#"state="following"} 1"#;

async fn follows(world: &World) -> bool {
    let text = world.client.get("/metrics").await.body;
    text.as_str().unwrap().lines().any(|line| line.starts_with("db_replica_state") && line.ends_with(FOLLOWS))
}

#[tokio::test]
async fn whoever_names_its_write_sees_it_and_whoever_does_not_gets_an_answer() {
    let world = World::start().await;
    world.store("first").await;
    wait_until(|| follows(&world)).await;
    assert!(world.doctor().starts_with("ok "), "{}", world.doctor());

    let mut missed = 0;
    for paused in [false, true] {
        world.standby.pause(paused).await;
        for n in 0..10 {
            let text = format!("text {n} {paused}");
            let stored = world.store(&text).await;
            let (id, token) = (stored["embedding_id"].as_str().unwrap(), &stored["write_token"]);
            let after = || json!({"after_token": token});
            assert!(token.as_str().unwrap().starts_with("w1-"), "{stored}");
            assert_eq!(world.found(SEARCH, &text, after()).await, 1);
            assert_eq!(world.found(CROSS, &text, after()).await, 1);
            assert_eq!(world.found(SEARCH, &text, json!({"consistency": "read_your_writes"})).await, 1);
            // what it does not name it may miss, and is answered
            let eventual = world.found(SEARCH, &text, json!({"consistency": "eventual"})).await;
            missed += usize::from(paused && eventual == 0);
            let token = token.as_str().unwrap();
            let list = format!("{EMBED}?agent_id=a&page_size=1&after_token={token}");
            assert_eq!(world.client.get(&list).await.ok()["embeddings"][0]["embedding_id"], id);
            // whoever was just given an id finds it, without any token
            for query in [String::new(), format!("?after_token={token}")] {
                world.client.get(&format!("{EMBED}/{id}{query}")).await.ok();
            }
        }
    }
    assert!(missed > 0, "nothing was read from a replica that replays nothing");
    world.standby.pause(false).await;
    assert!(world.metric(r#"db_reads_total{reason="",target="replica"}"#).await > 0.0);
    assert!(world.metric(r#"db_reads_total{reason="behind",target="primary"}"#).await > 0.0);

    // a batch has one token for all of it, and a deletion has one as well
    let batch = json!([{"agent_id": "a", "text": "x", "context_id": "x"}, {"agent_id": "b", "text": "y", "store": false}]);
    let batch = world.client.post("/api/v1/embeddings/batch", batch).await.ok();
    let (entries, token) = (&batch["embeddings"], &batch["write_token"]);
    assert_eq!(&entries[0]["write_token"], token);
    assert!(entries[1].get("write_token").is_none(), "nothing was stored: {}", entries[1]);
    assert_eq!(world.found(SEARCH, "x", json!({"after_token": token})).await, 1);
    let id = entries[0]["embedding_id"].as_str().unwrap();
    let deleted = world.client.delete(&format!("{EMBED}/{id}")).await.ok();
    assert_eq!(world.found(SEARCH, "x", json!({"after_token": deleted["write_token"]})).await, 0);
    let filter = json!({"agent_id": "a", "context_id": "first"});
    let deleted = world.client.post("/api/v1/embeddings/delete", filter).await.ok();
    assert_eq!(deleted["count"], 1);
    assert_eq!(world.found(SEARCH, "first", json!({"after_token": deleted["write_token"]})).await, 0);

    world.standby.promote().await;
    wait_until(async || !follows(&world).await).await;
    assert!(world.doctor().starts_with("warn "), "{}", world.doctor());
    let token = &world.store("after").await["write_token"];
    for more in [json!({"after_token": token}), json!({"consistency": "eventual"})] {
        assert_eq!(world.found(SEARCH, "after", more).await, 1);
    }
}

#[tokio::test]
async fn a_read_that_cannot_be_meant_is_refused_before_it_costs_anything() {
    let running = Running::one("").await;
    let client = running.agent();
    let stored = client.post(EMBED, json!({"agent_id": "a", "text": "x"})).await.ok();
    // without replicas every read sees every write
    assert_eq!(stored["write_token"], "primary");
    let found =
        client.post(SEARCH, json!({"agent_id": "a", "query": "x", "after_token": "primary"})).await.ok();
    assert_eq!(found["count"], 1);
    let token = format!("w1-{:040}", 1);
    for (more, param) in [
        (json!({"after_token": "w1-7"}), "after_token"),
        (json!({"after_token": ""}), "after_token"),
        (json!({"after_token": token.to_uppercase()}), "after_token"),
        (json!({"after_token": token, "consistency": "eventual"}), "after_token"),
        (json!({"consistency": "strong"}), "consistency"),
    ] {
        for path in [SEARCH, CROSS] {
            let mut body = json!({"agent_id": "a", "query": "x"});
            for (name, value) in more.as_object().unwrap() {
                body[name] = value.clone();
            }
            let answer = client.post(path, body).await;
            answer.refused(400, "invalid_request");
            assert_eq!(answer.body["error"]["param"], param, "{more}");
        }
    }
    for path in [
        format!("{EMBED}?after_token=x"),
        format!("{EMBED}/{}?consistency=x", stored["embedding_id"].as_str().unwrap()),
    ] {
        client.get(&path).await.refused(400, "invalid_request");
    }
}
