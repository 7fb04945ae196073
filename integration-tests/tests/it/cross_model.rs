//! Search over several spaces: fused by rank, each space named, and one whose provider is down named with the reason.

use embermesh_testing::sim::{Fault, Simulator};
use serde_json::{Value, json};

use crate::{
    client::Client,
    running::{Running, wait_until},
    simulated::{LARGE, LARGE_SPACE, QUIET, SMALL, SMALL_SPACE, entry, openai, reset, yaml},
};

const SEARCH: &str = "/api/v1/embeddings/search";
const CROSS: &str = "/api/v1/embeddings/search/cross-model";
/// No text that is stored: its vector would be known, and cost nothing.
const QUERY: &str = "which text is it";

async fn filled() -> (Simulator, Running) {
    let simulator = openai(&["small", "large"]).await;
    let entries = [
        entry(&simulator.deployments()[0], &[SMALL], ", timeout: 2s"),
        entry(&simulator.deployments()[1], &[LARGE], ", timeout: 2s"),
    ];
    let running = Running::one(&yaml(&entries, &[QUIET])).await;
    let client = running.agent();
    for n in 0..12 {
        // the first four in both spaces, the rest in one of them
        for model in [SMALL, LARGE] {
            if n < 4 || (n % 2 == 0) == (model == SMALL) {
                let body = json!({"agent_id": "docs", "text": format!("text {n}"), "model": model,
                    "metadata": {"even": n % 2 == 0}, "context_id": "c"});
                client.post("/api/v1/embeddings", body).await.ok();
            }
        }
    }
    client
        .post("/api/v1/embeddings", json!({"agent_id": "mail", "text": "text 1", "model": SMALL}))
        .await
        .ok();
    (simulator, running)
}

/// Ids of a space's own search, best first.
async fn ranking(client: &Client, model: &str, limit: u32) -> Vec<String> {
    let body = json!({"agent_id": "docs", "query": QUERY, "model": model, "limit": limit, "exact": true});
    let found = client.post(SEARCH, body).await.ok();
    let results = found["results"].as_array().unwrap();
    results.iter().map(|hit| hit["embedding_id"].as_str().unwrap().to_owned()).collect()
}

fn space<'a>(answer: &'a Value, id: &str) -> &'a Value {
    answer["spaces"]
        .as_array()
        .unwrap()
        .iter()
        .find(|of| of["space_id"] == id)
        .unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn every_space_is_searched_once_and_its_own_ranks_are_kept() {
    let (simulator, running) = filled().await;
    let client = running.agent();
    simulator.clear_calls();
    let body = json!({"agent_id": "docs", "query": QUERY, "limit": 100, "exact": true});
    let answer = client.post(CROSS, body.clone()).await;
    assert_eq!(answer.header("x-embermesh-space"), format!("{LARGE_SPACE},{SMALL_SPACE}"));
    let answer = answer.ok();
    let mut called: Vec<String> = simulator.calls().iter().map(|call| call.deployment.clone()).collect();
    called.sort_unstable();
    assert_eq!(called, ["large", "small"], "the query is embedded once for each space");

    let rankings = [ranking(&client, SMALL, 100).await, ranking(&client, LARGE, 100).await];
    assert_eq!(answer["count"], 12, "each text is one result: {answer}");
    let of_docs = |hit: &Value| hit["agent_id"] == "docs";
    assert!(answer["results"].as_array().unwrap().iter().all(of_docs), "{answer}");
    let mut score_before = f64::INFINITY;
    for hit in answer["results"].as_array().unwrap() {
        let mut places = vec![hit.clone()];
        places.extend(hit["also_in"].as_array().unwrap().iter().cloned());
        let mut score = 0.0;
        for place in &places {
            let ranking = if place["space_id"] == SMALL_SPACE { &rankings[0] } else { &rankings[1] };
            let rank = place["space_rank"].as_u64().unwrap();
            assert_eq!(ranking[rank as usize - 1], place["embedding_id"].as_str().unwrap(), "{hit}");
            score += 1.0 / (60.0 + rank as f64);
        }
        let told = hit["score"].as_f64().unwrap();
        assert!((told - score).abs() < 1e-9 && told <= score_before, "{hit}");
        score_before = told;
    }
    let both =
        answer["results"].as_array().unwrap().iter().filter(|hit| hit["also_in"][0].is_object()).count();
    assert_eq!(both, 4);
    for (id, model, found) in [(SMALL_SPACE, SMALL, 8), (LARGE_SPACE, LARGE, 8)] {
        let of = space(&answer, id);
        assert_eq!(
            (&of["searched"], &of["model"], &of["found"]),
            (&json!(true), &json!(model), &json!(found)),
            "{of}"
        );
    }
    // charged like any search
    let costs = [SMALL_SPACE, LARGE_SPACE].map(|id| space(&answer, id)["cost_usd"].as_f64().unwrap());
    assert!(costs.iter().all(|cost| *cost > 0.0));
    assert!((answer["cost_usd"].as_f64().unwrap() - costs.iter().sum::<f64>()).abs() < 1e-12);
    let sql = running.sql().await;
    let charges = "SELECT count(*) FROM ledger.charges WHERE agent_id = 'docs' AND amount_nano_usd > 0";
    let charged = || async { sql.query_one(charges, &[]).await.unwrap().get::<_, i64>(0) };
    // one for each stored row, two for the search
    wait_until(|| async { charged().await >= 18 }).await;

    // filters are exact in every space, and models choose among them
    let mut filtered = body.clone();
    filtered["metadata_filter"] = json!({"even": true});
    filtered["context_id"] = json!("c");
    let answer = client.post(CROSS, filtered).await.ok();
    assert!(
        answer["results"].as_array().unwrap().iter().all(|hit| hit["metadata"]["even"] == true),
        "{answer}"
    );
    assert_eq!(answer["count"], 6);
    for (field, models, expected) in [
        ("include_models", vec![LARGE], vec![LARGE_SPACE]),
        ("exclude_models", vec![LARGE], vec![SMALL_SPACE]),
        ("include_models", vec![LARGE, SMALL], vec![LARGE_SPACE, SMALL_SPACE]),
    ] {
        let mut chosen = body.clone();
        chosen[field] = json!(models);
        let answer = client.post(CROSS, chosen).await.ok();
        let spaces: Vec<&str> =
            answer["spaces"].as_array().unwrap().iter().map(|of| of["space_id"].as_str().unwrap()).collect();
        assert_eq!(spaces, expected, "{answer}");
    }
    client
        .post(CROSS, json!({"query": "x", "include_models": ["nobody"]}))
        .await
        .refused(400, "invalid_request");
    client.post(CROSS, json!({"query": "x", "include_models": []})).await.refused(400, "invalid_request");
    client.post(CROSS, json!({})).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn a_space_whose_provider_is_down_is_named_and_the_others_are_searched() {
    let (simulator, running) = filled().await;
    let client = running.agent();
    let [small, large] = simulator.deployments() else { panic!() };
    large.inject([Fault::status(500).forever()]);
    let ask = |query: &str| client.post(CROSS, json!({"agent_id": "docs", "query": query, "limit": 20}));
    let answer = ask("never asked before").await.ok();
    let (of_small, of_large) = (space(&answer, SMALL_SPACE), space(&answer, LARGE_SPACE));
    assert_eq!((&of_small["searched"], &of_small["found"]), (&json!(true), &json!(8)), "{answer}");
    assert_eq!(
        (&of_large["searched"], &of_large["code"]),
        (&json!(false), &json!("unavailable")),
        "{answer}"
    );
    assert!(of_large["reason"].as_str().unwrap().contains(LARGE), "{of_large}");
    assert!(
        answer["results"].as_array().unwrap().iter().all(|hit| hit["space_id"] == SMALL_SPACE),
        "{answer}"
    );
    assert_eq!(answer["truncated"], "1 of 2 spaces could not be searched");

    // with every provider down there is no answer to give
    small.inject([Fault::status(500).forever()]);
    ask("nor ever again").await.refused(503, "unavailable");
    for deployment in simulator.deployments() {
        deployment.heal();
    }
    reset(&running, SMALL).await;
    reset(&running, LARGE).await;
    let answer = ask("and now").await.ok();
    assert!(answer["spaces"].as_array().unwrap().iter().all(|of| of["searched"] == true), "{answer}");
}

#[tokio::test]
async fn the_query_is_scrubbed_for_every_space() {
    let (simulator, running) = filled().await;
    simulator.clear_calls();
    let body = json!({"agent_id": "docs", "query": "who is joe@example.com"});
    let answer = running.agent().post(CROSS, body).await.ok();
    assert_eq!(answer["pii"]["counts"]["email"], 1, "{answer}");
    let calls = simulator.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.texts == ["who is [EMAIL]"]), "{calls:?}");
}
