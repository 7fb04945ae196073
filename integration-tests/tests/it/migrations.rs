//! Moving rows between spaces: nothing changes for searches until the cut-over, no text is embedded twice whatever dies, and a roll-back
//! leaves everything as it was.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use embermesh_testing::sim::{DeploymentSpec, Latency, ModelSpec, Simulator};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    client::Client,
    running::{Running, wait_until},
    simulated::{LARGE, QUIET, SMALL, SMALL_SPACE, configure, entry, openai, yaml},
    tenants::Tenant,
};

const MIGRATIONS: &str = "/api/v1/migrations";
const EMBED: &str = "/api/v1/embeddings";
const NEW_SPACE: &str = "openai/text-embedding-3-large@256";
const AGENT: &str = "docs";
/// Of the texts that are searched for all the time.
const QUESTION: &str = "a question that nobody stored";

/// Two models, each at a provider of its own.
async fn providers() -> (Simulator, String) {
    let simulator = openai(&["a-small", "b-large"]).await;
    let [small, large] = simulator.deployments() else { panic!("two deployments") };
    let entries = [entry(small, &[SMALL], ", timeout: 5s"), entry(large, &[LARGE], ", timeout: 5s")];
    let config = yaml(&entries, &[QUIET]);
    (simulator, config)
}

fn text(n: usize) -> String {
    format!("row number {n} of the corpus, about subject {}", n % 17)
}

/// Stores rows of the agent in its own space.
async fn store(client: &Client, numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut ids = Vec::new();
    let all: Vec<usize> = numbers.collect();
    for some in all.chunks(250) {
        let rows = some.iter().map(
            |n| json!({"agent_id": AGENT, "text": text(*n), "metadata": {"n": n}, "return_vector": false}),
        );
        let answer = client.post(&format!("{EMBED}/batch"), rows.collect()).await.ok();
        assert_eq!(answer["failed"], 0, "{answer}");
        let rows = answer["embeddings"].as_array().unwrap();
        ids.extend(rows.iter().map(|row| row["embedding_id"].as_str().unwrap().to_owned()));
    }
    ids
}

/// The agent's vectors lie in the space of the smaller model.
async fn pin_to_small(running: &Running) {
    let prefers = json!({"model_preferences": [{"task_type": "general_qa", "primary_models": [SMALL]}]});
    configure(running, AGENT, prefers).await;
}

fn start(more: Value) -> Value {
    let mut body = json!({
        "to_model": LARGE, "to_dimensions": 256, "agent_id": AGENT, "min_overlap": 0,
        "requests_per_minute": 1_000_000, "tokens_per_minute": 1_000_000_000,
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn show(admin: &Client, id: &str) -> Value {
    admin.get(&format!("{MIGRATIONS}/{id}")).await.ok()
}

async fn tell(admin: &Client, id: &str, what: &str, body: Value) -> Value {
    admin.post(&format!("{MIGRATIONS}/{id}/{what}"), body).await.ok()
}

/// The migration, once it is in one of these states.
async fn until(admin: &Client, id: &str, states: &[&str]) -> Value {
    let reached = || async {
        let now = show(admin, id).await;
        states.contains(&now["state"].as_str().unwrap())
    };
    wait_until(reached).await;
    show(admin, id).await
}

fn id_of(migration: &Value) -> String {
    migration["migration_id"].as_str().unwrap().to_owned()
}

/// What a search finds, with everything that does not belong to the search itself.
async fn found(client: &Client, query: &str) -> Value {
    let body = json!({"agent_id": AGENT, "query": query, "limit": 20});
    client.post(&format!("{EMBED}/search"), body).await.ok()["results"].clone()
}

async fn all_found(client: &Client) -> Vec<Value> {
    let mut all = Vec::new();
    for n in [0, 3, 44, 90] {
        all.push(found(client, &text(n)).await);
    }
    all
}

async fn listed(client: &Client) -> Vec<Value> {
    let (mut rows, mut token) = (Vec::new(), String::new());
    loop {
        let page =
            client.get(&format!("{EMBED}?agent_id={AGENT}&page_size=70&page_token={token}")).await.ok();
        rows.extend(page["embeddings"].as_array().unwrap().iter().cloned());
        match page["next_page_token"].as_str() {
            Some(next) => token = next.to_owned(),
            None => return rows,
        }
    }
}

async fn rows_in(running: &Running, space: &str) -> i64 {
    let sql = running.sql().await;
    let count = "SELECT count(*) FROM store.embeddings WHERE space_id = $1";
    sql.query_one(count, &[&space]).await.unwrap().get(0)
}

/// Rows without their key, or keys without their row.
async fn apart(running: &Running) -> i64 {
    let sql = running.sql().await;
    let apart = "SELECT count(*) FROM store.embeddings e
            FULL JOIN (SELECT * FROM store.embedding_keys JOIN store.spaces USING (space_no)) k
                USING (tenant_id, embedding_id, space_id)
        WHERE e.content IS NULL OR k.dedup_hash IS NULL";
    sql.query_one(apart, &[]).await.unwrap().get(0)
}

/// How often each text was sent to the larger model and answered.
fn sent_to_large(simulator: &Simulator) -> HashMap<String, usize> {
    let mut sent = HashMap::new();
    for call in simulator.calls().iter().filter(|call| call.deployment == "b-large") {
        for text in &call.texts {
            *sent.entry(text.clone()).or_default() += 1;
        }
    }
    sent
}

#[tokio::test]
async fn a_corpus_moves_comes_back_and_moves_for_good() {
    let (simulator, config) = providers().await;
    let running = Running::one(&config).await;
    let (admin, agent) = (running.admin(), running.agent());
    pin_to_small(&running).await;
    let ids = store(&agent, 0..150).await;
    let before = all_found(&agent).await;

    let body = json!({"to_model": LARGE, "to_dimensions": 256, "agent_id": AGENT});
    let estimate = admin.post(&format!("{MIGRATIONS}/estimate"), body).await.ok();
    assert_eq!((&estimate["rows"], &estimate["rows_there"]), (&json!(150), &json!(0)), "{estimate}");
    assert_eq!(
        (&estimate["from_space_id"], &estimate["to_space_id"]),
        (&json!(SMALL_SPACE), &json!(NEW_SPACE)),
        "{estimate}"
    );
    assert!(
        estimate["hours"].as_f64().unwrap() > 0.0 && estimate["disk_bytes"].as_u64().unwrap() > 150 * 512
    );
    assert!(
        simulator.calls().iter().all(|call| call.deployment == "a-small"),
        "an estimate pays for nothing"
    );

    let started = admin.post(MIGRATIONS, start(json!({"min_overlap": 0.9}))).await;
    assert_eq!(started.status, 201, "{}", started.body);
    let id = id_of(&started.body);
    admin.post(MIGRATIONS, start(json!({}))).await.refused(409, "conflict");
    admin.post(&format!("{MIGRATIONS}/{id}/finish"), json!({})).await.refused(409, "conflict");
    let ready = until(&admin, &id, &["ready"]).await;
    assert_eq!((&ready["rows_done"], &ready["rows_left"]), (&json!(150), &json!(0)), "{ready}");
    assert_eq!(ready["parity"]["sampled"], 50, "{ready}");
    let (cost, guess) = (ready["cost_usd"].as_f64().unwrap(), estimate["cost_usd"].as_f64().unwrap());
    assert!(cost > 0.0 && (cost - guess).abs() <= 0.1 * cost, "{cost} against {guess}");

    // nothing has changed for anybody
    assert_eq!(all_found(&agent).await, before);
    assert_eq!(listed(&agent).await.len(), 150, "a copy is no row of its own");
    assert_eq!(agent.get(&format!("{EMBED}/{}", ids[7])).await.ok()["space_id"], SMALL_SPACE);
    let cross = json!({"agent_id": AGENT, "query": text(3), "limit": 5});
    let cross = agent.post(&format!("{EMBED}/search/cross-model"), cross).await.ok();
    assert_eq!(cross["spaces"].as_array().unwrap().len(), 1, "{cross}");

    // simulated models agree on nothing
    let refused = admin.post(&format!("{MIGRATIONS}/{id}/cut-over"), json!({})).await;
    assert!(refused.refused(409, "conflict").contains("nearest neighbours"), "{}", refused.body);
    tell(&admin, &id, "cut-over", json!({"force": true})).await;
    until(&admin, &id, &["cut_over"]).await;
    let in_new_space = || async {
        let hits = found(&agent, &text(3)).await;
        hits[0]["space_id"] == NEW_SPACE && hits[0]["content"] == text(3)
    };
    wait_until(in_new_space).await;
    // what is written now lies in the new space, and a known text is still known
    let known = store(&agent, 3..4).await;
    assert_eq!(known[0], ids[3]);
    let late = store(&agent, 150..160).await;
    assert_eq!(agent.get(&format!("{EMBED}/{}", late[0])).await.ok()["space_id"], NEW_SPACE);
    assert_eq!(listed(&agent).await.len(), 160);

    tell(&admin, &id, "roll-back", json!({})).await;
    until(&admin, &id, &["rolled_back"]).await;
    wait_until(|| async { found(&agent, &text(3)).await[0]["space_id"] == SMALL_SPACE }).await;
    assert_eq!(rows_in(&running, NEW_SPACE).await, 0);
    assert_eq!((rows_in(&running, SMALL_SPACE).await, apart(&running).await), (160, 0));
    // the late rows came along; without them everything is as it was
    assert_eq!(found(&agent, &text(155)).await[0]["embedding_id"], late[5].as_str());
    for one in &late {
        agent.delete(&format!("{EMBED}/{one}")).await.ok();
    }
    assert_eq!(all_found(&agent).await, before);

    // once more, and for good: what was embedded before is in the cache
    simulator.clear_calls();
    let id = id_of(&admin.post(MIGRATIONS, start(json!({}))).await.ok());
    until(&admin, &id, &["ready"]).await;
    tell(&admin, &id, "cut-over", json!({})).await;
    until(&admin, &id, &["cut_over"]).await;
    tell(&admin, &id, "finish", json!({})).await;
    until(&admin, &id, &["finished"]).await;
    assert_eq!((rows_in(&running, SMALL_SPACE).await, rows_in(&running, NEW_SPACE).await), (0, 150));
    assert_eq!(apart(&running).await, 0);
    let row = agent.get(&format!("{EMBED}/{}", ids[7])).await.ok();
    assert_eq!((&row["space_id"], &row["metadata"]["n"]), (&json!(NEW_SPACE), &json!(7)), "{row}");
    let listed: HashSet<String> =
        listed(&agent).await.iter().map(|row| row["embedding_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, ids.iter().cloned().collect());
    assert_eq!(found(&agent, &text(9)).await[0]["embedding_id"], ids[9].as_str());
    admin.post(&format!("{MIGRATIONS}/{id}/roll-back"), json!({})).await.refused(409, "conflict");
    let sql = running.sql().await;
    let recorded = "SELECT count(*) FROM admin.audit_records WHERE action = 'pin.move'";
    assert_eq!(sql.query_one(recorded, &[]).await.unwrap().get::<_, i64>(0), 3);
}

#[tokio::test]
async fn kill_9_at_any_step_embeds_no_text_twice_and_loses_no_row() {
    const ROWS: usize = 1_500;
    const KILLS: usize = 6;
    let seed = std::env::var("EMBERMESH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    println!("EMBERMESH_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (simulator, config) = providers().await;
    let mut running = Running::five(&config).await;
    pin_to_small(&running).await;
    let ids = store(&running.agent(), 0..ROWS).await;
    // a second way to the same rows, which works on no migration and is not killed
    let other = running.another_way(&[("EMBERMESH__GATEWAY__MIGRATIONS__WORKERS", "0")]).await;
    let searcher = Client::new(&other, running.keys["agent_key"].as_str().unwrap());
    let admin = Client::new(&other, running.keys["admin_key"].as_str().unwrap());
    let before = all_found(&searcher).await;
    let body = json!({"to_model": LARGE, "to_dimensions": 256, "agent_id": AGENT});
    let estimate = admin.post(&format!("{MIGRATIONS}/estimate"), body).await.ok();
    // long enough to be killed in the middle of it
    simulator.deployments()[1].set_latency(Some(Latency::Fixed { ms: 200.0 }));
    simulator.clear_calls();

    let (over, searches, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let searching = async {
        while !over.load(Ordering::Relaxed) {
            let body = json!({"agent_id": AGENT, "query": QUESTION, "limit": 10});
            let answer = searcher.post(&format!("{EMBED}/search"), body).await;
            searches.fetch_add(1, Ordering::Relaxed);
            if answer.status != 200 || answer.body["count"] != 10 {
                println!("a search failed: {} {}", answer.status, answer.body);
                failed.fetch_add(1, Ordering::Relaxed);
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let migrating = async {
        let id = id_of(&admin.post(MIGRATIONS, start(json!({}))).await.ok());
        let mut in_the_middle = 0;
        for kill in 0..KILLS {
            sleep(Duration::from_millis(rng.random_range(100..2_500))).await;
            let service = ["gateway", "vector-store"][kill % 2];
            running.process(service).kill();
            let state = show(&admin, &id).await;
            in_the_middle += usize::from(state["state"] == "running");
            running.start_again(service).await;
        }
        assert!(in_the_middle > 0, "no kill met the back-fill");
        let ready = until(&admin, &id, &["ready", "paused"]).await;
        assert_eq!(ready["state"], "ready", "{ready}");
        assert_eq!(ready["rows_done"], json!(ROWS), "{ready}");
        let unchanged = all_found(&searcher).await;
        tell(&admin, &id, "cut-over", json!({"force": true})).await;
        running.process("gateway").kill();
        running.start_again("gateway").await;
        until(&admin, &id, &["cut_over"]).await;
        wait_until(|| async { found(&searcher, &text(3)).await[0]["space_id"] == NEW_SPACE }).await;
        tell(&admin, &id, "roll-back", json!({})).await;
        sleep(Duration::from_millis(300)).await;
        running.process("gateway").kill();
        running.start_again("gateway").await;
        until(&admin, &id, &["rolled_back"]).await;
        wait_until(|| async { found(&searcher, &text(3)).await[0]["space_id"] == SMALL_SPACE }).await;
        over.store(true, Ordering::Relaxed);
        (ready, unchanged)
    };
    let ((ready, unchanged), ()) = tokio::join!(migrating, searching);

    let sent = sent_to_large(&simulator);
    let twice: Vec<_> = (0..ROWS).map(text).filter(|text| sent.get(text).copied().unwrap_or(0) > 1).collect();
    let never: Vec<_> = (0..ROWS).map(text).filter(|text| !sent.contains_key(text)).collect();
    println!(
        "{} searches, {} failed; {} texts embedded twice, {} never",
        searches.load(Ordering::Relaxed),
        failed.load(Ordering::Relaxed),
        twice.len(),
        never.len()
    );
    assert!(twice.is_empty() && never.is_empty(), "{twice:?} {never:?}");
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    let (cost, guess) = (ready["cost_usd"].as_f64().unwrap(), estimate["cost_usd"].as_f64().unwrap());
    assert!((cost - guess).abs() <= 0.1 * cost, "{cost} against {guess}");
    assert_eq!((unchanged, all_found(&searcher).await), (before.clone(), before));
    assert_eq!((rows_in(&running, SMALL_SPACE).await, rows_in(&running, NEW_SPACE).await), (ROWS as i64, 0));
    assert_eq!((apart(&running).await, ids.len()), (0, ROWS));
}

#[tokio::test]
async fn what_is_written_and_deleted_meanwhile_is_followed() {
    let (_simulator, config) = providers().await;
    let running = Running::one(&config).await;
    let (admin, agent) = (running.admin(), running.agent());
    pin_to_small(&running).await;
    let mut ids = store(&agent, 0..200).await;
    // a batch, then a long wait
    let id = id_of(&admin.post(MIGRATIONS, start(json!({"requests_per_minute": 6}))).await.ok());
    wait_until(|| async { show(&admin, &id).await["rows_copied"] == 64 }).await;
    // of what is copied, and of what is not
    for at in [199, 150, 20, 3] {
        agent.delete(&format!("{EMBED}/{}", ids.remove(at))).await.ok();
    }
    let filter = json!({"agent_id": AGENT, "metadata_filter": {"n": 40}});
    let dry = json!({"agent_id": AGENT, "metadata_filter": {"n": 40}, "dry_run": true});
    let counted = agent.post(&format!("{EMBED}/delete"), dry).await.ok();
    let deleted = agent.post(&format!("{EMBED}/delete"), filter).await.ok();
    assert_eq!((&counted["count"], &deleted["count"]), (&json!(1), &json!(1)), "{counted} {deleted}");
    store(&agent, 200..260).await;
    tell(&admin, &id, "pause", json!({})).await;
    let paused = show(&admin, &id).await;
    assert_eq!((&paused["state"], &paused["reason"]), (&json!("paused"), &json!("asked")), "{paused}");
    tell(&admin, &id, "resume", json!({"requests_per_minute": 1_000_000})).await;
    until(&admin, &id, &["ready"]).await;
    let rows = [SMALL_SPACE, NEW_SPACE].map(|space| rows_in(&running, space));
    assert_eq!(futures::future::join_all(rows).await, [255, 255]);
    // and while it is ready
    let more = store(&agent, 260..265).await;
    let old = rows_in(&running, SMALL_SPACE).await;
    wait_until(|| async { rows_in(&running, NEW_SPACE).await == old }).await;
    agent.delete(&format!("{EMBED}/{}", more[0])).await.ok();
    assert_eq!(rows_in(&running, NEW_SPACE).await, old - 1, "a deletion goes through every space at once");
    assert_eq!(apart(&running).await, 0);
    tell(&admin, &id, "roll-back", json!({})).await;
    until(&admin, &id, &["rolled_back"]).await;
    assert_eq!((rows_in(&running, NEW_SPACE).await, rows_in(&running, SMALL_SPACE).await), (0, old - 1));
}

#[tokio::test]
async fn a_budget_holds_and_what_cannot_be_embedded_is_listed() {
    let (_simulator, config) = providers().await;
    let running = Running::one(&config).await;
    let (admin, agent) = (running.admin(), running.agent());
    pin_to_small(&running).await;
    let ids = store(&agent, 0..120).await;
    let long = json!({"agent_id": AGENT, "text": "long ".repeat(400), "return_vector": false});
    let long = agent.post(EMBED, long).await.ok()["embedding_id"].as_str().unwrap().to_owned();
    // no text of more than 100 tokens, and no call either: the batch is taken apart
    let narrow = json!({
        "model_preferences": [{"task_type": "general_qa", "primary_models": [SMALL]}],
        "constraints": {"max_tokens_per_request": 100},
    });
    configure(&running, AGENT, narrow).await;

    // enough for some rows: a bound is bytes, a text has a third as many tokens
    let started = admin.post(MIGRATIONS, start(json!({"budget_usd": 0.00015}))).await.ok();
    let id = id_of(&started);
    let paused = until(&admin, &id, &["paused"]).await;
    assert_eq!(paused["reason"], "budget_reached", "{paused}");
    let copied = paused["rows_copied"].as_u64().unwrap();
    assert!(copied > 0 && copied < 120, "{paused}");
    assert!(paused["cost_usd"].as_f64().unwrap() <= 0.00015, "{paused}");
    tell(&admin, &id, "resume", json!({"budget_usd": 1})).await;
    let ready = until(&admin, &id, &["ready"]).await;
    assert_eq!((&ready["rows_done"], &ready["rows_failed"]), (&json!(120), &json!(1)), "{ready}");
    let failures = admin.get(&format!("{MIGRATIONS}/{id}/failures")).await.ok();
    let failure = &failures["failures"][0];
    assert_eq!(
        (&failure["embedding_id"], &failure["code"]),
        (&json!(long), &json!("input_too_long")),
        "{failures}"
    );
    assert!(!failures.to_string().contains("long long"), "{failures}");
    let refused = admin.post(&format!("{MIGRATIONS}/{id}/cut-over"), json!({})).await;
    assert!(refused.refused(409, "conflict").contains("could not be embedded"), "{}", refused.body);
    tell(&admin, &id, "cut-over", json!({"force": true})).await;
    until(&admin, &id, &["cut_over"]).await;
    tell(&admin, &id, "finish", json!({})).await;
    until(&admin, &id, &["finished"]).await;
    // what has no new vector keeps the old one
    assert_eq!((rows_in(&running, SMALL_SPACE).await, rows_in(&running, NEW_SPACE).await), (1, 120));
    assert_eq!(agent.get(&format!("{EMBED}/{long}")).await.ok()["space_id"], SMALL_SPACE);
    assert_eq!(ids.len(), 120);
}

#[tokio::test]
async fn only_what_the_new_model_does_not_take_is_cut() {
    const NARROW: &str = "narrow";
    let models =
        [ModelSpec::openai(), vec![ModelSpec { max_tokens: 100, ..ModelSpec::new(NARROW, 64, false) }]];
    let spec = DeploymentSpec {
        models: models.concat(),
        api_key: Some("sk-test".into()),
        ..DeploymentSpec::named("a-one")
    };
    let simulator = Simulator::start(&[spec]).await.unwrap();
    let entries = [entry(&simulator.deployments()[0], &[SMALL, NARROW], "")];
    let running = Running::one(&yaml(&entries, &[QUIET])).await;
    let (admin, agent) = (running.admin(), running.agent());
    // how many tokens a text has is known by a bound alone
    let model = json!({
        "id": NARROW, "family": "test/narrow", "native_dimensions": 64, "max_input_tokens": 100, "max_batch": 100,
        "tokenizer": "bytes", "provider_kinds": ["openai"], "normalized": true,
        "prices": [{"per_million_tokens_usd": 0.01, "effective_from": "2026-01-01T00:00:00Z", "source": "made up for this test"}],
    });
    admin.post("/api/v1/embedding-models/catalog", model).await.ok();
    pin_to_small(&running).await;
    let fits = "a text of many bytes and few tokens, ".repeat(8);
    let long = "long ".repeat(400);
    for text in [&fits, &long] {
        let row = json!({"agent_id": AGENT, "text": text, "return_vector": false});
        agent.post(EMBED, row).await.ok();
    }
    let ways = json!({"to_model": NARROW, "to_dimensions": 64, "on_too_long": "truncate"});
    let id = id_of(&admin.post(MIGRATIONS, start(ways)).await.ok());
    let ready = until(&admin, &id, &["ready"]).await;
    assert_eq!((&ready["rows_copied"], &ready["rows_failed"]), (&json!(2), &json!(0)), "{ready}");
    let embedded: Vec<String> = simulator
        .calls()
        .into_iter()
        .filter(|call| call.model.as_deref() == Some(NARROW) && call.status == Some(200))
        .flat_map(|call| call.texts)
        .collect();
    assert_eq!(embedded.len(), 2, "{embedded:?}");
    assert!(embedded.contains(&fits), "{embedded:?}");
    assert!(
        embedded.iter().any(|text| text.len() < long.len() && long.starts_with(text.as_str())),
        "{embedded:?}"
    );
    let sql = running.sql().await;
    let truncated =
        "SELECT content FROM store.embedding_keys JOIN store.embeddings USING (tenant_id, embedding_id)
        WHERE truncated AND space_id = 'test/narrow@64'";
    let row = sql.query_one(truncated, &[]).await.unwrap();
    // the text itself stays whole
    assert_eq!(row.get::<_, String>(0), long);
}

#[tokio::test]
async fn a_migration_is_its_tenants_alone() {
    let (_simulator, config) = providers().await;
    let running = Running::one(&config).await;
    let (one, two) = (Tenant::first(&running), Tenant::second(&running).await);
    pin_to_small(&running).await;
    store(&one.agent, 0..20).await;
    let id = id_of(&one.admin.post(MIGRATIONS, start(json!({}))).await.ok());
    two.admin.get(&format!("{MIGRATIONS}/{id}")).await.refused(404, "not_found");
    two.admin.get(&format!("{MIGRATIONS}/{id}/failures")).await.refused(404, "not_found");
    for what in ["pause", "resume", "cut-over", "roll-back", "finish"] {
        two.admin.post(&format!("{MIGRATIONS}/{id}/{what}"), json!({})).await.refused(404, "not_found");
    }
    assert_eq!(two.admin.get(MIGRATIONS).await.ok()["migrations"], json!([]));
    assert_eq!(one.admin.get(MIGRATIONS).await.ok()["migrations"][0]["migration_id"], id.as_str());
    one.agent.get(MIGRATIONS).await.refused(403, "forbidden");
    // nothing of the first is there to be migrated by the second
    let refused = two.admin.post(MIGRATIONS, start(json!({}))).await;
    refused.refused(400, "invalid_request");
    until(&one.admin, &id, &["ready"]).await;
    assert_eq!(rows_in(&running, NEW_SPACE).await, 20);
}
