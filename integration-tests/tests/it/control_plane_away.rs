//! The control plane is gone: what is configured goes on working, what would change the configuration says so.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use embermesh_private_postgres::TestDatabase;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    client::Client,
    running::{Running, connect, tools, wait_until},
};

const SETTLED: &str = "settled-agent";
const KEYS: &str = "/api/v1/admin/keys";

/// How long admin and its database are stopped: long enough for every kind of call here, ten minutes in `make away`.
fn length() -> Duration {
    let given = std::env::var("EMBERMESH_AWAY").ok();
    given.map_or(Duration::from_secs(6), |text| humantime::parse_duration(&text).unwrap())
}

#[tokio::test]
async fn without_the_control_plane_agents_go_on_embedding_and_searching() {
    let mut running = Running::five("").await;
    let client = running.agent();
    embed(&client, SETTLED, "the ferry leaves at noon").await;
    running.process("admin").kill();

    served(&client, "embedded without the control plane").await;
    change_is_refused(&running.admin()).await;
    // an agent that never embedded has no space, and nobody is there who could fix one
    let body = json!({"agent_id": "newcomer", "text": "which space?"});
    client.post("/api/v1/embeddings", body).await.refused(503, "unavailable");

    running.start_again("admin").await;
    let admin = running.admin();
    wait_until(|| async {
        admin.put(&agent_path(), json!({"embedding_strategy": "cost"})).await.status == 200
    })
    .await;
    embed(&client, "newcomer", "this one").await;
}

#[tokio::test]
async fn processes_that_start_without_the_control_plane_serve_from_their_copy() {
    let mut running = Running::five("").await;
    let client = running.agent();
    embed(&client, SETTLED, "the ferry leaves at noon").await;
    copies_hold(&running, text_of(&running.keys["agent_key"]).split('_').nth(2).unwrap()).await;
    running.process("admin").kill();

    // killed, not told to stop: nothing is saved on the way out
    for service in ["provider-router", "gateway", "cost-ledger", "vector-store"] {
        running.start_again(service).await;
    }
    let client = running.agent();
    served(&client, "embedded by processes that never met the control plane").await;
    change_is_refused(&running.admin()).await;
    let unknown = Client::new(&running.url, "emb_live_000000000000_00000000000000000000000000000000_000000");
    unknown.get("/api/v1/embeddings").await.refused(401, "unauthenticated");
}

/// What came of the time without admin and its database.
#[derive(Default)]
struct Figures {
    embedded: u32,
    searched: u32,
    refused_changes: u32,
    restarts: u32,
    slowest: Duration,
}

#[tokio::test]
async fn while_admin_and_its_database_are_stopped_agents_go_on_through_restarts_and_all_catches_up_after() {
    let own = TestDatabase::create().await;
    let local =
        format!("embedding: {{router: {{local_model_dir: '{}'}}}}\n", tools().join("minilm").display());
    let database = format!("database: {{admin_url: '{}'}}\n", own.url().expose_secret());
    let mut running = Running::five(&format!("{local}{database}")).await;
    embed(&running.agent(), SETTLED, "the ferry leaves at noon").await;
    let made = running.admin().post(KEYS, json!({"name": "to be revoked"})).await.ok();
    let (id, secret) = (text_of(&made["id"]), text_of(&made["key"]));
    copies_hold(&running, &id).await;

    running.process("admin").kill();
    let operator = running.sql().await;
    close(&operator, &own).await;
    assert!(tokio_postgres::connect(own.url().expose_secret(), tokio_postgres::NoTls).await.is_err());
    let figures = go_on(&mut running, length()).await;
    // the key is good for as long as nobody can say otherwise
    let revoked = Client::new(&running.url, &secret);
    revoked.get("/v1/models").await.ok();

    let open = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", own.name());
    operator.batch_execute(&open).await.unwrap();
    let back = Instant::now();
    running.start_again("admin").await;
    let started = back.elapsed();
    let admin = running.admin();
    let change = json!({"embedding_strategy": "cost"});
    wait_until(|| async { admin.put(&agent_path(), change.clone()).await.status == 200 }).await;
    let changed = back.elapsed();
    admin.post(&format!("{KEYS}/{id}/revoke"), json!({})).await.ok();
    wait_until(|| async { revoked.get("/v1/models").await.status == 401 }).await;
    let explained = format!("{}/explain", agent_path());
    wait_until(|| async { admin.post(&explained, json!({})).await.ok()["embedding_strategy"] == "cost" })
        .await;
    let caught_up = back.elapsed();
    embed(&running.agent(), "newcomer", "a space of its own").await;
    wait_until(|| async { live(&running).await }).await;
    report(&figures, [started, changed, caught_up]);
    // and what was changed is in the database that was stopped
    let rows = connect(own.url().expose_secret()).await;
    let sql = "SELECT count(*) FROM admin.api_keys WHERE id = $1 AND revoked_at IS NOT NULL";
    assert_eq!(rows.query_one(sql, &[&id]).await.unwrap().get::<_, i64>(0), 1);
}

/// Ends every connection to the database and lets nobody in any more: to its users it is stopped. The server is other tests' too.
async fn close(operator: &tokio_postgres::Client, database: &TestDatabase) {
    let name = database.name();
    let shut = format!(
        "ALTER DATABASE {name} ALLOW_CONNECTIONS false;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    );
    operator.batch_execute(&shut).await.unwrap();
}

/// Embeds, searches and tries to change something for so long, and kills every other process once meanwhile.
async fn go_on(running: &mut Running, length: Duration) -> Figures {
    let mut figures = Figures::default();
    let begun = Instant::now();
    let services = ["gateway", "provider-router", "cost-ledger", "vector-store"];
    let mut client = running.agent();
    while begun.elapsed() < length || figures.restarts < 4 {
        let due = length * (figures.restarts + 1) / 5;
        if figures.restarts < 4 && begun.elapsed() >= due {
            running.start_again(services[figures.restarts as usize]).await;
            figures.restarts += 1;
            client = running.agent();
            // there is one of each, and the others find it again at their own pace
            let known = json!({"agent_id": SETTLED, "text": "the ferry leaves at noon"});
            wait_until(|| async { client.post("/api/v1/embeddings", known.clone()).await.status == 200 })
                .await;
            assert!(!live(running).await, "nobody is there who could say what is configured");
        }
        let asked = Instant::now();
        let text = format!("embedded without the control plane, number {}", figures.embedded);
        let new = embed(&client, SETTLED, &text).await;
        figures.embedded += 1;
        let query = json!({"agent_id": SETTLED, "query": text});
        let found = client.post("/api/v1/embeddings/search", query).await.ok();
        assert_eq!(found["results"][0]["embedding_id"], new["embedding_id"], "{found}");
        figures.searched += 1;
        figures.slowest = figures.slowest.max(asked.elapsed());
        if figures.embedded % 25 == 1 {
            change_is_refused(&running.admin()).await;
            figures.refused_changes += 2;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    figures
}

/// Whether the gateway's configuration is what admin says now.
async fn live(running: &Running) -> bool {
    let health: Value =
        reqwest::get(format!("{}/health/ready", running.url)).await.unwrap().json().await.unwrap();
    let configuration = &health["configuration"]["gateway"];
    assert!(configuration["version"].as_i64().unwrap() > 0, "{health}");
    configuration["live"] == true
}

/// Prints the figures, and writes them where `make away` wants them.
fn report(figures: &Figures, [started, changed, caught_up]: [Duration; 3]) {
    let Figures { embedded, searched, refused_changes, restarts, slowest } = figures;
    let mut table = String::from("| what | measured |\n|---|---:|\n");
    let mut row = |what: &str, measured: String| {
        let _ = writeln!(table, "| {what} | {measured} |");
    };
    row("admin and its database stopped for", humantime::format_duration(length()).to_string());
    row("texts embedded and stored meanwhile / failed", format!("{embedded} / 0"));
    row("searches meanwhile that found what was just stored / that did not", format!("{searched} / 0"));
    row("slowest embedding and search together", format!("{:.0} ms", slowest.as_secs_f64() * 1000.0));
    row("processes killed with -9 and started from their copies meanwhile", restarts.to_string());
    row("changes refused with 503 meanwhile / of another outcome", format!("{refused_changes} / 0"));
    row("admin ready after its database was back", format!("{:.2} s", started.as_secs_f64()));
    row("first change accepted after", format!("{:.2} s", changed.as_secs_f64()));
    row(
        "that change and a revocation in force everywhere after",
        format!("{:.2} s", caught_up.as_secs_f64()),
    );
    println!("{table}");
    if let Some(file) = std::env::var_os("EMBERMESH_AWAY_REPORT") {
        std::fs::write(file, table).unwrap();
    }
}

/// Waits until the copies on disk, which follow the stream at their own pace, hold what a start needs.
async fn copies_hold(running: &Running, key_id: &str) {
    let folder = running.dir.parent().unwrap().to_owned();
    let holds = |file: &str, part: &str| {
        let bytes = std::fs::read(folder.join(file)).unwrap_or_default();
        bytes.windows(part.len()).any(|window| window == part.as_bytes())
    };
    wait_until(|| async {
        holds("provider-router/router.snapshot", SETTLED) && holds("gateway/gateway.snapshot", key_id)
    })
    .await;
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn agent_path() -> String {
    format!("/api/v1/embeddings/agents/{SETTLED}")
}

async fn embed(client: &Client, agent: &str, text: &str) -> Value {
    client.post("/api/v1/embeddings", json!({"agent_id": agent, "text": text})).await.ok()
}

/// A new text, the old one from memory, and a search that finds both.
async fn served(client: &Client, text: &str) {
    let new = embed(client, SETTLED, text).await;
    assert_eq!(new["cached"], false, "{new}");
    let old = embed(client, SETTLED, "the ferry leaves at noon").await;
    assert_eq!(old["deduplicated"], true, "{old}");
    for (query, id) in [(text, &new), ("the ferry leaves at noon", &old)] {
        let query = json!({"agent_id": SETTLED, "query": query});
        let found = client.post("/api/v1/embeddings/search", query).await.ok();
        assert_eq!(found["count"], 2, "{found}");
        assert_eq!(found["results"][0]["embedding_id"], id["embedding_id"], "{found}");
    }
}

async fn change_is_refused(admin: &Client) {
    admin.put(&agent_path(), json!({"embedding_strategy": "quality"})).await.refused(503, "unavailable");
    admin.post("/api/v1/admin/keys", json!({"name": "late"})).await.refused(503, "unavailable");
}
