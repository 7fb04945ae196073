//! An agent's space: kept while it is down, left only where the agent's configuration allows it and then in plain sight.

use embermesh_testing::sim::{Fault, Simulator};
use serde_json::{Value, json};

use crate::{
    client::{cosine, floats},
    running::Running,
    simulated::{
        LARGE, LARGE_SPACE, QUIET, SMALL, SMALL_SPACE, assert_right, configure, entry, is_right, openai,
        reset, stored, yaml,
    },
};

/// Two models, each with a deployment of its own.
async fn two_models() -> (Simulator, Running) {
    let simulator = openai(&["small", "large"]).await;
    let entries = [
        entry(&simulator.deployments()[0], &[SMALL], ", timeout: 2s"),
        entry(&simulator.deployments()[1], &[LARGE], ", timeout: 2s"),
    ];
    let running = Running::one(&yaml(&entries, &[QUIET])).await;
    (simulator, running)
}

fn preferring_small(cross_space: &str) -> Value {
    json!({
        "model_preferences": [{"task_type": "general_qa", "primary_models": [SMALL], "fallback_models": [LARGE]}],
        "fallback_behavior": {"cross_space": cross_space, "max_retries": 1},
    })
}

/// The agent's rows of a space, with their vectors.
async fn rows(running: &Running, agent: &str, space: &str) -> Vec<Value> {
    let path = format!(
        "/api/v1/embeddings?agent_id={agent}&space_id={}&return_vector=true",
        space.replace('@', "%40")
    );
    running.agent().get(&path).await.ok()["embeddings"].as_array().unwrap().clone()
}

fn assert_rows_of(rows: &[Value], family: &str, contents: &[&str]) {
    let mut found: Vec<&str> = rows.iter().map(|row| row["content"].as_str().unwrap()).collect();
    found.sort_unstable();
    let mut expected = contents.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
    for row in rows {
        let text = row["content"].as_str().unwrap();
        assert!(is_right(&floats(&row["embedding"]), family, text), "{text:?} lies in a foreign space");
        assert_eq!(row["model_used"], family);
    }
}

#[tokio::test]
async fn with_its_model_down_an_agent_that_stays_gets_503_and_no_foreign_vector() {
    let (simulator, running) = two_models().await;
    configure(&running, "loyal", preferring_small("never")).await;
    let client = running.agent();
    let body = |text: &str| json!({"agent_id": "loyal", "text": text});
    let first = client.post("/api/v1/embeddings", body("before")).await.ok();
    assert_eq!(first["space_id"], SMALL_SPACE);
    simulator.deployments()[0].inject([Fault::status(500).forever()]);
    for n in 0..5 {
        let answer = client.post("/api/v1/embeddings", body(&format!("meanwhile {n}"))).await;
        answer.refused(503, "unavailable");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    }
    let batch = json!([body("before"), body("meanwhile in a batch")]);
    let answer = client.post("/api/v1/embeddings/batch", batch).await.ok();
    assert_eq!(answer["failed"], 1, "{}", answer["embeddings"][1]);
    assert!(simulator.calls().iter().all(|call| call.deployment == "small"), "the other model was called");
    assert_rows_of(&rows(&running, "loyal", SMALL_SPACE).await, SMALL, &["before"]);
    assert_rows_of(&rows(&running, "loyal", LARGE_SPACE).await, LARGE, &[]);

    simulator.deployments()[0].heal();
    reset(&running, SMALL).await;
    assert_right(&client.post("/api/v1/embeddings", body("after")).await.ok(), SMALL, "after");
}

#[tokio::test]
async fn an_agent_that_may_leave_gets_another_space_named_in_the_answer_and_its_row_there() {
    let (simulator, running) = two_models().await;
    configure(&running, "rover", preferring_small("allow")).await;
    let client = running.agent();
    let body = |text: &str| json!({"agent_id": "rover", "text": text});
    let first = client.post("/api/v1/embeddings", body("at home")).await;
    assert_eq!(first.header("x-embermesh-space"), SMALL_SPACE);
    assert_eq!(first.ok().get("instead_of_space_id"), None);
    simulator.deployments()[0].inject([Fault::status(500).forever()]);

    let away = client.post("/api/v1/embeddings", body("abroad")).await;
    assert_eq!(away.header("x-embermesh-space"), LARGE_SPACE);
    assert_eq!(away.header("x-embermesh-provider"), "large");
    let away = away.ok();
    assert_eq!((&away["space_id"], &away["model_used"]), (&json!(LARGE_SPACE), &json!(LARGE)));
    assert_eq!(away["instead_of_space_id"], SMALL_SPACE);
    assert_right(&away, LARGE, "abroad");
    let kept = stored(&client, &away["embedding_id"]).await;
    assert!(cosine(&kept, &floats(&away["embedding"])) > 0.9999);
    assert_rows_of(&rows(&running, "rover", LARGE_SPACE).await, LARGE, &["abroad"]);
    assert_rows_of(&rows(&running, "rover", SMALL_SPACE).await, SMALL, &["at home"]);

    // a request that names the model, and a search, stay where they are
    let named = json!({"agent_id": "rover", "text": "by name", "model": SMALL});
    client.post("/api/v1/embeddings", named).await.refused(503, "unavailable");
    let query = json!({"agent_id": "rover", "query": "never asked before"});
    client.post("/api/v1/embeddings/search", query).await.refused(503, "unavailable");

    simulator.deployments()[0].heal();
    reset(&running, SMALL).await;
    let back = client.post("/api/v1/embeddings", body("home again")).await.ok();
    assert_eq!(back["space_id"], SMALL_SPACE, "the pin did not move");
    let query = json!({"agent_id": "rover", "query": "home again"});
    let found = client.post("/api/v1/embeddings/search", query).await.ok();
    assert_eq!((&found["space_id"], &found["other_spaces"]), (&json!(SMALL_SPACE), &json!([LARGE_SPACE])));
}
