//! Which model and which deployment: by what the agent wants and what was measured, explained, and never at the cost of one space.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use embermesh_testing::sim::{DeploymentSpec, Latency, ModelSpec, Simulator};
use futures::{StreamExt as _, future::join_all, stream};
use serde_json::{Value, json};

use crate::{
    running::{Running, wait_until},
    simulated::{
        LARGE, QUIET, SMALL, candidate, configure, entry, explain, in_force, openai, system, unstored, yaml,
    },
};

/// Each the best at one thing, and one that is second at all of them: name, latency in ms, USD per million tokens, quality.
const MODELS: [(&str, f64, f64, f64); 4] = [
    ("m-cheap", 300.0, 0.01, 45.0),
    ("m-even", 120.0, 0.05, 70.0),
    ("m-fast", 10.0, 0.5, 50.0),
    ("m-good", 400.0, 0.3, 90.0),
];

/// Each model with a deployment of its own.
async fn four_models() -> (Simulator, Running) {
    let specs = MODELS.map(|(name, ..)| DeploymentSpec {
        models: vec![ModelSpec::new(name, 64, false)],
        ..DeploymentSpec::named(name)
    });
    let simulator = Simulator::start(&specs).await.unwrap();
    let entries: Vec<String> = simulator
        .deployments()
        .iter()
        .map(|deployment| entry(deployment, &[deployment.name()], ", timeout: 5s"))
        .collect();
    let running = Running::one(&yaml(&entries, &[QUIET])).await;
    for ((name, ms, price, quality), deployment) in MODELS.into_iter().zip(simulator.deployments()) {
        deployment.set_latency(Some(Latency::Fixed { ms }));
        let model = json!({
            "id": name, "family": format!("test/{name}"), "native_dimensions": 64, "max_input_tokens": 8191,
            "max_batch": 100, "tokenizer": "cl100k_base", "provider_kinds": ["openai"], "quality": quality,
            "quality_source": "made up for this test", "normalized": true,
            "prices": [{"per_million_tokens_usd": price, "effective_from": "2026-01-01T00:00:00Z", "source": "made up for this test"}],
        });
        running.admin().post("/api/v1/embedding-models/catalog", model).await.ok();
    }
    (simulator, running)
}

#[tokio::test]
async fn four_strategies_put_the_same_candidates_into_four_orders_and_say_why() {
    let (_simulator, running) = four_models().await;
    let preference = json!({"model_preferences": [{"task_type": "general_qa", "primary_models": MODELS.map(|(name, ..)| name)}]});
    configure(&running, "picky", preference).await;
    let client = running.agent();
    // enough calls to measure by
    join_all(MODELS.iter().map(|(name, ..)| {
        let client = client.clone();
        async move {
            for n in 0..25 {
                let body = unstored("sampler", &format!("{name} {n}"), Some(name));
                client.post("/api/v1/embeddings", body).await.ok();
            }
        }
    }))
    .await;

    let mut orders = BTreeMap::new();
    for strategy in ["balanced", "quality", "speed", "cost"] {
        let explained = explain(&running, "picky", json!({"embedding_strategy": strategy})).await;
        assert_eq!(explained["embedding_strategy"], strategy);
        let weights = &explained["weights"];
        let candidates = explained["candidates"].as_array().unwrap();
        println!("\n{strategy}, weights {weights}");
        for one in candidates {
            println!(
                "  {:16} {:8} {:.3} {} {}",
                one["name"].as_str().unwrap(),
                one["status"],
                one["score"].as_f64().unwrap(),
                one["parts"],
                one["reason"]
            );
            assert_eq!(one["role"], "primary", "{one}");
            assert!(!one["reason"].as_str().unwrap().is_empty(), "{one}");
            assert!(one["measured"]["calls"].as_u64().unwrap() >= 25, "{one}");
            let part = |name: &str| one["parts"][name].as_f64().unwrap() * weights[name].as_f64().unwrap();
            let sum: f64 = ["latency", "success", "price", "quality", "load"].into_iter().map(part).sum();
            assert!((sum - one["score"].as_f64().unwrap()).abs() < 0.01, "{one}");
        }
        // scores on one step are alike, and then load and names decide
        let step = |one: &Value| (one["score"].as_f64().unwrap() / 0.02).round();
        assert!(candidates.is_sorted_by(|a, b| step(a) >= step(b)));
        let order: Vec<&str> = candidates.iter().map(|one| one["model"].as_str().unwrap()).collect();
        assert_eq!((order.len(), explained["chosen"].as_str()), (4, candidates[0]["name"].as_str()));
        assert_eq!(candidates[0]["status"], "chosen");
        orders.insert(strategy, order.join(" "));
    }
    let first = |strategy: &str| orders[strategy].split(' ').next().unwrap().to_owned();
    assert_eq!([first("quality"), first("speed"), first("cost")], ["m-good", "m-fast", "m-cheap"]);
    assert_eq!(orders.values().collect::<BTreeSet<_>>().len(), 4, "{orders:?}");

    // and so it is done: each agent's first embedding takes the model that its strategy puts first
    for strategy in ["balanced", "quality", "speed", "cost"] {
        let preference = json!({
            "embedding_strategy": strategy,
            "model_preferences": [{"task_type": "general_qa", "primary_models": MODELS.map(|(name, ..)| name)}],
        });
        running.admin().put(&format!("/api/v1/embeddings/agents/by-{strategy}"), preference).await.ok();
    }
    in_force().await;
    for strategy in ["balanced", "quality", "speed", "cost"] {
        let body = json!({"agent_id": format!("by-{strategy}"), "text": "the first text"});
        let made = client.post("/api/v1/embeddings", body).await.ok();
        assert_eq!(made["model_used"], first(strategy), "{strategy}");
    }
}

#[tokio::test]
async fn two_hundred_agents_that_want_speed_stay_in_one_space_each_while_the_fastest_changes_every_second() {
    let simulator = openai(&["small", "large"]).await;
    let entries = [
        entry(&simulator.deployments()[0], &[SMALL], ", timeout: 5s"),
        entry(&simulator.deployments()[1], &[LARGE], ", timeout: 5s"),
    ];
    simulator.deployments()[0].set_latency(Some(Latency::Alternating { even_ms: 2.0, odd_ms: 120.0 }));
    simulator.deployments()[1].set_latency(Some(Latency::Alternating { even_ms: 120.0, odd_ms: 2.0 }));
    let running = Running::one(&yaml(&entries, &[QUIET])).await;
    let (admin, client) = (running.admin(), running.agent());
    let agents: Vec<String> = (0..200).map(|n| format!("agent-{n:03}")).collect();
    let preference = json!({
        "embedding_strategy": "speed",
        "model_preferences": [{"task_type": "general_qa", "primary_models": [SMALL, LARGE]}],
    });
    // half of the agents have a length, the others ask for one
    let asks = |agent: &str| agent.ends_with(['1', '3', '5', '7', '9']);
    let put = |agent: &String| {
        let (admin, mut preference, path) =
            (admin.clone(), preference.clone(), format!("/api/v1/embeddings/agents/{agent}"));
        if !asks(agent) {
            preference["constraints"] = json!({"preferred_dimensions": 64});
        }
        async move { admin.put(&path, preference).await.ok() }
    };
    stream::iter(&agents).map(put).buffer_unordered(8).collect::<Vec<_>>().await;
    in_force().await;

    let mut spaces: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for round in 0..5 {
        let asked = agents.iter().map(|agent| {
            let (client, agent) = (client.clone(), agent.clone());
            async move {
                let text = format!("{agent} says {round}");
                let mut body = json!({"agent_id": agent, "text": text, "return_vector": false});
                if asks(&agent) {
                    body["dimensions"] = json!(64);
                }
                let made = client.post("/api/v1/embeddings", body).await.ok();
                (agent, made["space_id"].as_str().unwrap().to_owned())
            }
        });
        let answers = stream::iter(asked).buffer_unordered(20).collect::<Vec<_>>().await;
        for (agent, space) in answers {
            spaces.entry(agent).or_default().insert(space);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(spaces.len(), 200);
    let mixed: Vec<_> = spaces.iter().filter(|(_, spaces)| spaces.len() != 1).collect();
    assert!(mixed.is_empty(), "{mixed:?}");
    let mut share: BTreeMap<&String, usize> = BTreeMap::new();
    for space in spaces.values().flatten() {
        *share.entry(space).or_default() += 1;
    }
    println!("agents by space: {share:?}");
    // and the rows themselves
    let sql = running.sql().await;
    let rows = "SELECT count(*), count(DISTINCT agent_id) FROM (SELECT agent_id FROM store.embeddings GROUP BY agent_id HAVING count(DISTINCT space_id) > 1) mixed";
    let row = sql.query_one(rows, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_deployment_over_the_agents_latency_limit_is_not_called_once_that_is_known() {
    let simulator = openai(&["a-slow", "b-fast"]).await;
    let entries: Vec<String> = simulator
        .deployments()
        .iter()
        .map(|deployment| entry(deployment, &[SMALL], ", timeout: 20s"))
        .collect();
    let running = Running::one(&yaml(&entries, &[QUIET])).await;
    // far above the limit, as the fast one is far below it, on a busy machine too
    simulator.deployments()[0].set_latency(Some(Latency::Fixed { ms: 3_000.0 }));
    // what tells that the slow one is called at all: for an agent without the limit, when the other one is away
    let off = json!({"deployment": format!("b-fast/{SMALL}")});
    running.admin().post("/api/v1/admin/circuit-breaker/force-open", off.clone()).await.ok();
    wait_until(|| async {
        let explained = explain(&running, "patient", json!({"model": SMALL})).await;
        candidate(&explained, &format!("b-fast/{SMALL}"))["circuit_breaker_state"] == "forced_open"
    })
    .await;
    let client = running.agent();
    let samples = (0..40)
        .map(|n| client.post("/api/v1/embeddings", unstored("patient", &format!("sample {n}"), Some(SMALL))));
    for answer in join_all(samples.collect::<Vec<_>>()).await {
        assert_eq!(answer.ok()["provider"], "a-slow");
    }
    let limit = json!({"constraints": {"max_latency_p99_ms": 1_500}, "embedding_strategy": "quality"});
    configure(&running, "hasty", limit).await;
    let explained = explain(&running, "hasty", json!({"model": SMALL})).await;
    let slow = candidate(&explained, &format!("a-slow/{SMALL}"));
    assert_eq!(slow["status"], "excluded", "{slow}");
    assert!(slow["reason"].as_str().unwrap().contains("1500"), "{slow}");
    // nothing is left for it
    let body = unstored("hasty", "too slow for me", Some(SMALL));
    let answer = client.post("/api/v1/embeddings", body.clone()).await;
    assert_eq!(answer.status, 503, "{}", answer.body);

    running.admin().post("/api/v1/admin/circuit-breaker/reset", off).await.ok();
    wait_until(|| async { client.post("/api/v1/embeddings", body.clone()).await.status == 200 }).await;
    let texts = (0..20)
        .map(|n| client.post("/api/v1/embeddings", unstored("hasty", &format!("quick {n}"), Some(SMALL))));
    for answer in join_all(texts.collect::<Vec<_>>()).await {
        assert_eq!(answer.ok()["provider"], "b-fast");
    }
}

#[tokio::test]
async fn a_deployment_that_nobody_measured_yet_gets_calls() {
    let (simulator, running) = system(&["a-known", "b-new"], &[SMALL], &[QUIET]).await;
    let new = format!("b-new/{SMALL}");
    let state = |expected: &'static str| {
        let (running, new) = (&running, &new);
        wait_until(move || async move {
            let explained = explain(running, "nobody", json!({"model": SMALL})).await;
            candidate(&explained, new)["circuit_breaker_state"] == expected
        })
    };
    let order = json!({"deployment": new});
    running.admin().post("/api/v1/admin/circuit-breaker/force-open", order.clone()).await.ok();
    state("forced_open").await;
    let client = running.agent();
    for n in 0..40 {
        client.post("/api/v1/embeddings", unstored("regular", &format!("known {n}"), Some(SMALL))).await.ok();
    }
    running.admin().post("/api/v1/admin/circuit-breaker/reset", order).await.ok();
    state("closed").await;
    for n in 0..60 {
        client.post("/api/v1/embeddings", unstored("regular", &format!("new {n}"), Some(SMALL))).await.ok();
    }
    let calls = simulator.calls().into_iter().filter(|call| call.deployment == "b-new").count();
    assert!(calls >= 10, "{calls} of 60 calls went to the deployment that was not measured yet");
}

#[tokio::test]
async fn primaries_come_before_fallbacks_however_good_these_are() {
    let (_simulator, running) = four_models().await;
    let preference = json!({
        "embedding_strategy": "speed",
        "model_preferences": [{"task_type": "general_qa", "primary_models": ["m-good"], "fallback_models": ["m-fast"]}],
    });
    configure(&running, "choosy", preference).await;
    let explained = explain(&running, "choosy", json!({})).await;
    let roles: Vec<(&Value, &Value)> =
        explained["candidates"].as_array().unwrap().iter().map(|one| (&one["model"], &one["role"])).collect();
    assert_eq!(roles[0], (&json!("m-good"), &json!("primary")), "{explained}");
    assert_eq!(roles[1], (&json!("m-fast"), &json!("fallback")), "{explained}");
    let made = running
        .agent()
        .post("/api/v1/embeddings", json!({"agent_id": "choosy", "text": "a text"}))
        .await
        .ok();
    assert_eq!(made["model_used"], "m-good");
}
