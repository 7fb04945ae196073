//! The main job: embed, keep, find, list, delete — in one process and in five.

use serde_json::{Value, json};

use crate::{
    client::floats,
    running::{Running, wait_until},
};

const TEXTS: [&str; 4] = [
    "The ferry to the island leaves at noon.",
    "Rust's borrow checker rejects programs with dangling references.",
    "Sourdough needs a long, cold fermentation.",
    "The treasurer presented the annual accounts.",
];

#[tokio::test]
async fn main_job_in_one_process() {
    main_job(&Running::one("").await).await;
}

#[tokio::test]
async fn main_job_in_five_processes() {
    let running = Running::five("").await;
    assert_eq!(running.processes.len(), 5);
    main_job(&running).await;
}

async fn main_job(running: &Running) {
    let agent = running.agent();
    let first = agent.post("/api/v1/embeddings", json!({"agent_id": "demo", "text": TEXTS[0]})).await;
    assert_eq!(first.header("x-embermesh-cached"), "0/1");
    assert_eq!(first.header("x-embermesh-space"), "sentence-transformers/all-MiniLM-L6-v2@384");
    assert_eq!(first.header("x-embermesh-provider"), "local");
    assert_eq!(first.header("x-embermesh-cost-usd"), "0");
    assert!(!first.header("x-request-id").is_empty());
    let first = first.ok();
    let vector = floats(&first["embedding"]);
    assert!(vector.len() == 384 && vector.iter().all(|x| x.is_finite()));
    assert_eq!((first["dimensions"].as_u64(), first["cached"].as_bool()), (Some(384), Some(false)));

    // the same text again: one row, one id, from memory
    let again = agent.post("/api/v1/embeddings", json!({"agent_id": "demo", "text": TEXTS[0]})).await.ok();
    assert_eq!(again["embedding_id"], first["embedding_id"]);
    assert_eq!((again["cached"].as_bool(), again["deduplicated"].as_bool()), (Some(true), Some(true)));
    assert_eq!(again["embedding"], first["embedding"]);

    let batch: Vec<Value> = TEXTS[1..]
        .iter()
        .map(|text| json!({"agent_id": "demo", "text": text, "metadata": {"topic": text.len()}, "context_id": "c1"}))
        .collect();
    let batch = agent.post("/api/v1/embeddings/batch", batch.into()).await.ok();
    assert_eq!((batch["count"].as_u64(), batch["failed"].as_u64()), (Some(3), Some(0)), "{batch}");

    let found = search(running, json!({"agent_id": "demo", "query": "when does the boat depart?"})).await;
    assert_eq!(found["results"][0]["content"], TEXTS[0]);
    assert_eq!(found["results"][0]["embedding_id"], first["embedding_id"]);
    assert_eq!((found["count"].as_u64(), found["scan"].as_str()), (Some(4), Some("exact")));
    assert!(found["truncated"].is_string(), "fewer than ten must say why: {found}");

    let context =
        search(running, json!({"agent_id": "demo", "query": "boat", "context_id": "c1", "limit": 2})).await;
    assert_eq!(context["count"], 2);
    let topic = TEXTS[2].len();
    let bread = search(running, json!({"query": "bread", "metadata_filter": {"topic": topic}})).await;
    assert_eq!(bread["results"][0]["content"], TEXTS[2], "{bread}");
    assert_eq!(bread["count"], 1);
    let by_vector = json!({"query_embedding": first["embedding"], "space_id": first["space_id"], "limit": 1});
    let by_vector = search(running, by_vector).await;
    assert_eq!(by_vector["results"][0]["content"], TEXTS[0]);
    assert!(by_vector["results"][0]["similarity"].as_f64().unwrap() > 0.999);
    assert_eq!(search(running, json!({"agent_id": "nobody", "query": "boat"})).await["count"], 0);

    let id = first["embedding_id"].as_str().unwrap();
    let row = agent.get(&format!("/api/v1/embeddings/{id}")).await.ok();
    assert_eq!((&row["content"], &row["agent_id"]), (&json!(TEXTS[0]), &json!("demo")));
    let page = agent.get("/api/v1/embeddings?agent_id=demo&page_size=3").await.ok();
    assert_eq!(page["embeddings"].as_array().unwrap().len(), 3);
    let token = page["next_page_token"].as_str().unwrap();
    let rest =
        agent.get(&format!("/api/v1/embeddings?agent_id=demo&page_size=3&page_token={token}")).await.ok();
    assert_eq!(rest["embeddings"].as_array().unwrap().len(), 1);

    agent.delete(&format!("/api/v1/embeddings/{id}")).await.ok();
    agent.get(&format!("/api/v1/embeddings/{id}")).await.refused(404, "not_found");
    let dry =
        agent.post("/api/v1/embeddings/delete", json!({"context_id": "c1", "dry_run": true})).await.ok();
    assert_eq!((dry["count"].as_u64(), dry["dry_run"].as_bool()), (Some(3), Some(true)));
    assert_eq!(agent.post("/api/v1/embeddings/delete", json!({"context_id": "c1"})).await.ok()["count"], 3);
    assert_eq!(search(running, json!({"agent_id": "demo", "query": "boat"})).await["count"], 0);

    let health = running.admin().get("/api/v1/embeddings/providers/health").await.ok();
    assert_eq!(health["providers"]["local"]["status"], "healthy", "{health}");
    let admin = running.admin();
    let costs = || async { admin.get("/api/v1/embeddings/agents/demo/costs").await.ok() };
    wait_until(|| async { costs().await["request_count"].as_u64().unwrap() > 0 }).await;
    assert_eq!(costs().await["total_cost_usd"].as_f64(), Some(0.0));
}

async fn search(running: &Running, request: Value) -> Value {
    running.agent().post("/api/v1/embeddings/search", request).await.ok()
}

#[tokio::test]
async fn any_text_round_trips_unchanged() {
    let running = Running::one("").await;
    let agent = running.agent();
    let texts = [
        r"C:\new\table 'single' \'both\' \\ $1 %s",
        r#"{"json": "in \"text\"", "null": null}"#,
        "emoji 👩‍👩‍👧‍👦🇺🇳 and zero\u{200b}width\u{200d}joiners",
        "日本語のテキスト 中文文本 한국어 텍스트",
        "tabs\tnewlines\r\n\u{85}\u{2028}end",
        "\u{feff}BOM, combining e\u{301}, \u{10ffff}",
        " leading and trailing spaces ",
    ];
    for text in texts {
        let made = agent
            .post("/api/v1/embeddings", json!({"agent_id": "r", "text": text, "metadata": {"t": text}}))
            .await
            .ok();
        let id = made["embedding_id"].as_str().unwrap();
        let row = agent.get(&format!("/api/v1/embeddings/{id}")).await.ok();
        assert_eq!((row["content"].as_str(), row["metadata"]["t"].as_str()), (Some(text), Some(text)));
        let found = search(&running, json!({"agent_id": "r", "query": text, "limit": 1})).await;
        assert_eq!(found["results"][0]["content"].as_str(), Some(text), "{found}");
    }
}

#[tokio::test]
async fn fifty_concurrent_requests_for_one_text_make_one_row() {
    let running = Running::one("").await;
    let agent = running.agent();
    let request =
        || agent.post("/api/v1/embeddings", json!({"agent_id": "same", "text": "one and the same"}));
    let answers = futures::future::join_all((0..50).map(|_| request())).await;
    let ids: std::collections::BTreeSet<String> =
        answers.into_iter().map(|answer| answer.ok()["embedding_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 1);
    let page = agent.get("/api/v1/embeddings?agent_id=same").await.ok();
    assert_eq!(page["embeddings"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_repeated_request_id_is_the_same_row_and_another_body_is_a_conflict() {
    let running = Running::one("").await;
    let agent = running.agent();
    let body = json!({"agent_id": "i", "text": "once", "request_id": "r-1"});
    let first = agent.post("/api/v1/embeddings", body.clone()).await.ok();
    let again = agent.post("/api/v1/embeddings", body).await.ok();
    assert_eq!(first["embedding_id"], again["embedding_id"]);
    let other = agent
        .post("/api/v1/embeddings", json!({"agent_id": "i", "text": "twice", "request_id": "r-1"}))
        .await;
    other.refused(409, "conflict");
}

#[tokio::test]
async fn what_is_acknowledged_outlives_a_restart_of_everything() {
    let folder = tempfile::TempDir::new().unwrap();
    let port = crate::running::free_port();
    let mut running = Running::up(folder.path(), "", None, port).await;
    let body = json!({"agent_id": "d", "text": "durable"});
    let made = running.agent().post("/api/v1/embeddings", body.clone()).await.ok();
    let status = running.processes[0].terminate();
    assert!(status.success(), "{status}\n{}", running.logs());
    let running = Running::up(folder.path(), "", None, port).await;
    let again = running.agent().post("/api/v1/embeddings", body).await.ok();
    assert_eq!(again["embedding_id"], made["embedding_id"]);
}
