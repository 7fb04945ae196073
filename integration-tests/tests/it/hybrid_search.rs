//! Hybrid search over REST: words are found that vectors do not see, in one space and over several; and what is slow is told of without
//! what was asked.

use serde_json::{Value, json};

use crate::{
    client::Client, providers::two_deployments, running::wait_until, secrets::TEXT, tenants::Tenant,
};

const EMBED: &str = "/api/v1/embeddings";
const SEARCH: &str = "/api/v1/embeddings/search";
const CROSS: &str = "/api/v1/embeddings/search/cross-model";

async fn fill(client: &Client, odd: &str) {
    let texts: Vec<Value> = (0..12)
        .map(|n| json!({"agent_id": "docs", "text": format!("note {n} on pumps and valves"), "metadata": {"year": 2000 + n}}))
        .chain([json!({"agent_id": "docs", "text": odd, "metadata": {"year": 1999}})])
        .collect();
    client.post(&format!("{EMBED}/batch"), json!(texts)).await.ok();
}

fn contents(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().unwrap().iter().map(|hit| hit["content"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_code_is_found_by_its_words_by_its_tenant_alone() {
    let (_simulator, running) = two_deployments("").await;
    let (one, two) = (Tenant::first(&running), Tenant::second(&running).await);
    let odd = "ERR-48213 means that the seal is worn";
    fill(&one.agent, odd).await;
    fill(&two.agent, "nothing of interest").await;
    let mut body = json!({"agent_id": "docs", "query": "what is ERR-48213?", "limit": 3, "mode": "hybrid"});
    for path in [SEARCH, CROSS] {
        let answer = one.agent.post(path, body.clone()).await.ok();
        assert!(contents(&answer)[..2].contains(&odd), "{path}: {answer}");
        assert_eq!(answer["count"], 3);
        let scan = if path == SEARCH { &answer["scan"] } else { &answer["spaces"][0]["scan"] };
        assert_eq!(scan, "exact+words", "{answer}");
        let answer = two.agent.post(path, body.clone()).await.ok();
        assert!(!contents(&answer).contains(&odd), "{path}: {answer}");
    }
    // operators of a metadata filter hold of both rankings
    body["metadata_filter"] = json!({"year": {"$lt": 2000}});
    assert_eq!(contents(&one.agent.post(SEARCH, body.clone()).await.ok()), [odd]);
    body["metadata_filter"] = json!({"year": {"$gte": 2000, "$lt": 2002}});
    let found = one.agent.post(SEARCH, body.clone()).await.ok();
    assert_eq!((found["count"].as_u64(), contents(&found).contains(&odd)), (Some(2), false));
    body["metadata_filter"] = json!({"year": {"$around": 2000}});
    let refused = one.agent.post(SEARCH, body.clone()).await;
    assert!(refused.refused(400, "invalid_request").contains("$around"));
    body["metadata_filter"] = json!({});
    body["mode"] = json!("words");
    assert!(one.agent.post(SEARCH, body).await.refused(400, "invalid_request").contains("mode"));
}

#[tokio::test]
async fn slow_searches_are_in_the_log_with_their_plan_and_without_what_was_asked() {
    let (_simulator, running) = two_deployments("store: {slow_query_ms: 0}").await;
    let client = running.agent();
    // the end of every system looks for this text in its logs
    fill(&client, TEXT).await;
    for mode in ["vector", "hybrid"] {
        let body = json!({"agent_id": "docs", "query": format!("{TEXT} word"), "mode": mode, "metadata_filter": {"note": TEXT}});
        client.post(SEARCH, body).await.ok();
    }
    let lines = |query: &str| -> Option<String> {
        let logs = running.logs();
        let from = logs.find(&format!("query=\"{query}\""))?;
        Some(logs[from..].chars().take(4_000).collect())
    };
    for query in ["search_exact", "search_words"] {
        wait_until(|| async { lines(query).is_some() }).await;
        let line = lines(query).unwrap();
        assert!(
            line.contains("milliseconds=") && line.contains("rows=") && line.contains("space_1"),
            "{line}"
        );
        assert!(line.contains("cost=") && line.contains("$3"), "{line}");
    }
    assert!(!running.logs().contains(TEXT));
}
