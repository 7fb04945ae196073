//! Every call is a row of `api_requests`, once, and the operations guide's queries find it, in psql and as printed.

use std::{collections::BTreeMap, path::Path, process::Command};

use embermesh_testing::sim::{DeploymentSpec, Simulator};
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::json;
use tokio_postgres::Client as Sql;

use crate::{
    books,
    client::Client,
    running::{Running, tools, wait_until},
    simulated::QUIET,
};

const MODEL: &str = "text-embedding-3-small";
const KEYS: &str = "/api/v1/admin/keys";

const KEY_USE: &str = "
SELECT api_key_id,
       COUNT(*) as requests,
       MAX(created_at) as last_used
FROM api_requests
WHERE created_at > NOW() - INTERVAL '7 days'
GROUP BY api_key_id;";

const SUSPICIOUS: &str = "
-- Review suspicious activity
SELECT user_id,
       endpoint,
       COUNT(*) as request_count,
       SUM(cost_usd) as total_cost
FROM audit_logs
WHERE created_at > NOW() - INTERVAL '1 hour'
GROUP BY user_id, endpoint
HAVING COUNT(*) > 1000
   OR SUM(cost_usd) > 100;";

/// What psql prints for an operator, a line for each row, columns divided by `|`.
pub async fn psql(running: &Running, query: &str) -> Vec<String> {
    let database = running.database.as_ref().unwrap();
    let password = "of-the-operator-in-tests";
    let allow = format!("ALTER ROLE embermesh_operator LOGIN PASSWORD '{password}'");
    let sql = running.sql().await;
    // other tests may be doing the same, on the same server
    wait_until(|| async { sql.batch_execute(&allow).await.is_ok() }).await;
    let url = database.url_as("embermesh_operator", password);
    let mut command = Command::new(tools().join("postgres/bin/psql"));
    command.args([
        "--no-psqlrc",
        "--tuples-only",
        "--no-align",
        "--set",
        "ON_ERROR_STOP=1",
        "--command",
        query,
    ]);
    let output = command.arg(url.expose_secret()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Rows of a key.
async fn rows(sql: &Sql, key: &str) -> i64 {
    let count = "SELECT count(*) FROM admin.api_requests WHERE api_key_id = $1";
    sql.query_one(count, &[&key]).await.unwrap().get(0)
}

/// A new key: its id, and a client with it.
async fn key(running: &Running, body: serde_json::Value) -> (String, Client) {
    let made = running.admin().post(KEYS, body).await.ok();
    let client = Client::new(&running.url, made["key"].as_str().unwrap());
    (made["id"].as_str().unwrap().to_owned(), client)
}

#[tokio::test]
async fn the_guides_queries_find_every_call_and_what_it_cost() {
    let spec = DeploymentSpec { api_key: Some("sk-test".to_owned()), ..DeploymentSpec::named("sim") };
    let simulator = Simulator::start(&[spec]).await.unwrap();
    let url = simulator.deployments()[0].base_url();
    // no call is given up on a busy machine: what it cost would be presumed, which nobody answers with
    let entry = format!("{{base_url: '{url}', api_key: sk-test, models: [{MODEL}], timeout: 60s}}");
    let yaml = format!(
        "embedding: {{providers: {{openai: {entry}}}, {QUIET}}}\ngateway: {{request_timeout_seconds: 90}}\n"
    );
    let running = Running::one(&yaml).await;
    let sql = running.sql().await;
    // dear enough to be suspicious
    let price = json!({"per_million_tokens_usd": 50_000_000});
    let prices = format!("/api/v1/embedding-models/catalog/{MODEL}/prices");
    running.admin().post(&prices, price).await.ok();
    let (id, client) = key(&running, json!({"name": "free"})).await;
    let (bound_id, bound) = key(&running, json!({"name": "bound", "agent_id": "the-bound-one"})).await;

    let embed =
        |n: usize| json!({"agent_id": "a", "text": format!("text {n}"), "model": MODEL, "store": false});
    let mut calls: BTreeMap<(String, u16), i64> = BTreeMap::new();
    let mut done =
        |endpoint: &str, status: u16| *calls.entry((endpoint.to_owned(), status)).or_default() += 1;
    let openai = json!({"input": ["one", "two"], "model": MODEL});
    for n in 0..3 {
        done("/api/v1/embeddings", client.post("/api/v1/embeddings", embed(n)).await.status);
        done("/v1/embeddings", client.post("/v1/embeddings", openai.clone()).await.status);
    }
    let batch = json!([embed(10), embed(11), {"text": ""}]);
    done("/api/v1/embeddings/batch", client.post("/api/v1/embeddings/batch", batch).await.status);
    // answered again without being charged again
    for _ in 0..2 {
        let again = [("idempotency-key", "the-same")];
        let answer =
            client.send_with(Method::POST, "/api/v1/embeddings", embed(20).to_string(), &again).await;
        done("/api/v1/embeddings", answer.status);
    }
    let query = json!({"query": "which text?", "model": MODEL});
    done("/api/v1/embeddings/search", client.post("/api/v1/embeddings/search", query).await.status);
    done("/api/v1/embeddings/{embedding_id}", client.get("/api/v1/embeddings/nothing").await.status);
    done("/api/v1/admin/keys", client.get(KEYS).await.status);
    for _ in 0..1_001 {
        done("/v1/models", client.get("/v1/models").await.status);
    }
    // of nobody: no key, a wrong one, no such route
    Client::new(&running.url, "none").get("/v1/models").await.refused(401, "unauthenticated");
    client.get("/no/such/route").await.refused(404, "not_found");
    assert!(calls.contains_key(&("/api/v1/admin/keys".to_owned(), 403)), "{calls:?}");
    bound.post("/api/v1/embeddings", embed(30)).await.refused(403, "forbidden");
    let own = json!({"text": "of its own agent", "model": MODEL, "store": false});
    bound.post("/api/v1/embeddings", own).await.ok();

    let all: i64 = calls.values().sum();
    wait_until(|| async { rows(&sql, &id).await >= all && rows(&sql, &bound_id).await >= 2 }).await;
    let by_route =
        "SELECT endpoint, status, count(*) FROM admin.api_requests WHERE api_key_id = $1 GROUP BY 1, 2";
    let found: BTreeMap<(String, u16), i64> = sql
        .query(by_route, &[&id])
        .await
        .unwrap()
        .iter()
        .map(|row| ((row.get(0), u16::try_from(row.get::<_, i16>(1)).unwrap()), row.get(2)))
        .collect();
    assert_eq!(found, calls);

    let used = psql(&running, KEY_USE).await;
    for (id, expected) in [(&id, all), (&bound_id, 2)] {
        let line = used.iter().find(|line| line.starts_with(id.as_str())).unwrap();
        assert_eq!(line.split('|').nth(1), Some(expected.to_string().as_str()), "{used:?}");
    }

    // the books say the same, to the nano-dollar
    let totals = |table: &str, column: &str| {
        format!(
            "SELECT sum({column})::text FROM {table} WHERE {} = $1",
            if table.starts_with("ledger") { "key_id" } else { "api_key_id" }
        )
    };
    let charged = totals("ledger.embedding_metrics", "cost_usd");
    let recorded = totals("admin.api_requests", "cost_usd");
    for id in [&id, &bound_id] {
        let text =
            async |query: &str| -> Option<String> { sql.query_one(query, &[id]).await.unwrap().get(0) };
        wait_until(|| async { text(&charged).await == text(&recorded).await }).await;
        assert!(text(&recorded).await.is_some_and(|cost| cost.parse::<f64>().unwrap() > 100.0));
    }
    let suspicious = psql(&running, SUSPICIOUS).await;
    let line = |user: &str, endpoint: &str| {
        let start = format!("{user}|{endpoint}|");
        suspicious.iter().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
    };
    assert!(line(&id, "/v1/models").is_some_and(|rest| rest.starts_with("1001|0")), "{suspicious:?}");
    // under the agent that the key is bound to
    assert!(
        line("the-bound-one", "/api/v1/embeddings").is_some_and(|rest| rest.starts_with("2|")),
        "{suspicious:?}"
    );
    let singles = line(&id, "/api/v1/embeddings").unwrap();
    let cost = "SELECT count(*)::text || '|' || sum(cost_usd)::text FROM admin.api_requests
                WHERE api_key_id = $1 AND endpoint = '/api/v1/embeddings'";
    let cost: String = sql.query_one(cost, &[&id]).await.unwrap().get(0);
    assert_eq!(singles, cost);
    // changes are beside the calls
    let records = psql(&running, "SELECT count(*) FROM audit_logs WHERE endpoint = 'key.create'").await;
    assert_eq!(records, ["4"], "two at the first start, two here");
    books::ended(&sql, 1).await;
}

/// Rows in the gateway's files: each names its key twice, as whose it is and as who called.
fn on_disk(gateway: &Path, key: &str) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(gateway.join("api-requests")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        found += bytes.windows(key.len()).filter(|window| *window == key.as_bytes()).count();
    }
    found / 2
}

#[tokio::test]
async fn calls_wait_for_admin_through_kill_9_of_the_gateway_and_none_is_there_twice() {
    let mut running = Running::five("").await;
    let sql = running.sql().await;
    let (id, client) = key(&running, json!({"name": "counted"})).await;
    let gateway = running.dir.with_file_name("gateway");
    let call = async |count: usize| {
        for _ in 0..count {
            client.get("/v1/models").await.ok();
        }
    };
    call(20).await;
    wait_until(|| async { rows(&sql, &id).await == 20 }).await;

    // the copy of the configuration follows at its own pace
    let copied = || std::fs::read(gateway.join("gateway.snapshot")).unwrap_or_default();
    wait_until(|| async { copied().windows(id.len()).any(|window| window == id.as_bytes()) }).await;
    running.process("admin").kill();
    call(30).await;
    // written down within `gateway.api_requests.interval`, which is all that a kill takes
    wait_until(|| async { on_disk(&gateway, &id) == 30 }).await;
    running.process("gateway").kill();
    assert_eq!(on_disk(&gateway, &id), 30);
    running.start_again("gateway").await;
    call(40).await;
    wait_until(|| async { on_disk(&gateway, &id) == 70 }).await;
    assert_eq!(rows(&sql, &id).await, 20);
    running.start_again("admin").await;
    wait_until(|| async { rows(&sql, &id).await == 90 }).await;

    // killed at any time, with admin there: nothing twice, and nothing lost of what was told
    let (last_id, last) = key(&running, json!({"name": "last"})).await;
    for round in 1..=3 {
        let before = rows(&sql, &id).await;
        call(25).await;
        let told = rows(&sql, &id).await;
        running.process("gateway").kill();
        running.start_again("gateway").await;
        last.get("/v1/models").await.ok();
        // told after all that the killed one left behind
        wait_until(|| async { rows(&sql, &last_id).await == round }).await;
        let now = rows(&sql, &id).await;
        assert!((told..=before + 25).contains(&now), "{before} before, {told} told, {now} after");
    }
}
