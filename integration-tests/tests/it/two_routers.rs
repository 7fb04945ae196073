//! Two routers, each with a gateway of its own: one pin for racing first requests, one word of an operator for both.

use embermesh_testing::sim::{Fault, Latency, Simulator};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    client::Client,
    running::{Running, wait_until},
    simulated::{LARGE, QUIET, SMALL, assert_right, candidate, entry, in_force, openai, unstored, yaml},
};

struct Pair {
    simulator: Simulator,
    running: Running,
    /// Of the first gateway and the second.
    agents: [Client; 2],
    admins: [Client; 2],
}

impl Pair {
    /// Two routers on deployments of these names, each with its models.
    async fn start(deployments: &[(&str, &str)]) -> Self {
        let names: Vec<&str> = deployments.iter().map(|(name, _)| *name).collect();
        let simulator = openai(&names).await;
        let entries: Vec<String> = simulator
            .deployments()
            .iter()
            .zip(deployments)
            .map(|(deployment, (_, model))| entry(deployment, &[model], ", timeout: 2s"))
            .collect();
        let mut running = Running::five(&yaml(&entries, &[QUIET])).await;
        let second = running.another_pair().await;
        let clients = |key: &str| {
            let key = running.keys[key].as_str().unwrap();
            [Client::new(&running.url, key), Client::new(&second, key)]
        };
        let (agents, admins) = (clients("agent_key"), clients("admin_key"));
        Self { simulator, running, agents, admins }
    }

    /// The breaker of a deployment, as each router sees it.
    async fn breakers(&self, deployment: &str) -> Vec<String> {
        let ask = |admin: &Client| {
            let admin = admin.clone();
            async move {
                let explained = admin
                    .post("/api/v1/embeddings/agents/nobody/explain", json!({"model": SMALL}))
                    .await
                    .ok();
                candidate(&explained, deployment)["circuit_breaker_state"].as_str().unwrap().to_owned()
            }
        };
        join_all(self.admins.iter().map(ask)).await
    }

    async fn until_both_are(&self, deployment: &str, state: &str) {
        wait_until(|| async { self.breakers(deployment).await.iter().all(|seen| seen == state) }).await;
    }

    /// The providers that answer texts sent over both gateways; `None` where nobody could.
    async fn providers(&self, name: &str) -> Vec<Option<String>> {
        let ask = |n: usize| {
            let client = self.agents[n % 2].clone();
            let body = unstored("asker", &format!("{name} {n}"), Some(SMALL));
            async move {
                let answer = client.post("/api/v1/embeddings", body).await;
                answer.body["provider"].as_str().map(str::to_owned)
            }
        };
        join_all((0..12).map(ask)).await
    }
}

#[tokio::test]
async fn an_operators_word_about_a_breaker_reaches_both_routers() {
    let pair = Pair::start(&[("a-one", SMALL), ("b-two", SMALL)]).await;
    let one = format!("a-one/{SMALL}");
    let only = |answers: Vec<Option<String>>, provider: &str| {
        assert!(answers.iter().all(|answer| answer.as_deref() == Some(provider)), "{answers:?}");
    };

    let forced = pair.admins[0]
        .post("/api/v1/admin/circuit-breaker/force-open", json!({"deployment": one}))
        .await
        .ok();
    assert_eq!(forced["forced"], json!([one]));
    pair.until_both_are(&one, "forced_open").await;
    only(pair.providers("forced open").await, "b-two");
    // nothing at all goes there, not even as a last resort
    pair.simulator.clear_calls();
    pair.simulator.deployments()[1].inject([Fault::status(500).forever()]);
    assert!(pair.providers("nobody is left").await.iter().all(Option::is_none));
    assert!(pair.simulator.calls().iter().all(|call| call.deployment == "b-two"));
    pair.simulator.deployments()[1].heal();

    // over the other gateway, by the name of the entry
    let reset = pair.admins[1].post("/api/v1/admin/circuit-breaker/reset", json!({})).await.ok();
    assert!(reset["reset"].as_array().unwrap().contains(&json!(one)), "{reset}");
    pair.until_both_are(&one, "closed").await;
    pair.admins[1].post("/api/v1/admin/circuit-breaker/force-open", json!({"provider": "b-two"})).await.ok();
    pair.until_both_are(&format!("b-two/{SMALL}"), "forced_open").await;
    only(pair.providers("the other one").await, "a-one");

    // forced closed, it is called whatever happens
    pair.admins[0].post("/api/v1/admin/circuit-breaker/force-close", json!({"deployment": one})).await.ok();
    pair.until_both_are(&one, "forced_closed").await;
    pair.simulator.deployments()[0].inject([Fault::status(500).forever()]);
    for round in 0..3 {
        pair.simulator.clear_calls();
        assert!(pair.providers(&format!("failing {round}")).await.iter().all(Option::is_none));
        assert!(!pair.simulator.calls().is_empty(), "a breaker that is forced closed holds calls back");
    }
    assert!(pair.breakers(&one).await.iter().all(|seen| seen == "forced_closed"));
    pair.simulator.deployments()[0].heal();
    pair.admins[0].post("/api/v1/admin/circuit-breaker/reset", json!({})).await.ok();
    pair.until_both_are(&one, "closed").await;

    // an order without a name would be about everything
    pair.admins[0]
        .post("/api/v1/admin/circuit-breaker/force-open", json!({}))
        .await
        .refused(400, "invalid_request");
    let nowhere =
        pair.admins[0].post("/api/v1/admin/circuit-breaker/reset", json!({"provider": "nobody"})).await;
    assert!((400..500).contains(&nowhere.status), "{} {}", nowhere.status, nowhere.body);
    pair.agents[0].post("/api/v1/admin/circuit-breaker/reset", json!({})).await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_health_check_is_one_small_call_a_deployment_that_the_system_pays_for() {
    let pair = Pair::start(&[("a-one", SMALL), ("b-two", SMALL), ("c-large", LARGE)]).await;
    let health = pair.admins[0].get("/api/v1/embeddings/providers/health").await.ok();
    for name in ["a-one", "b-two", "c-large"] {
        assert_eq!(health["providers"][name]["name"], name, "{health}");
    }
    assert!(pair.simulator.calls().is_empty(), "looking at the health costs a call");

    let checked = pair.admins[0].post("/api/v1/admin/providers/a-one/health-check", json!({})).await.ok();
    assert_eq!(checked["provider"], "a-one");
    let [deployment] = &checked["deployments"].as_array().unwrap()[..] else { panic!("{checked}") };
    assert_eq!(
        (&deployment["name"], &deployment["healthy"]),
        (&json!(format!("a-one/{SMALL}")), &json!(true))
    );
    let calls = pair.simulator.calls();
    let [call] = &calls[..] else { panic!("{calls:?}") };
    assert!(call.deployment == "a-one" && call.tokens < 50, "{call:?}");
    let sql = pair.running.sql().await;
    let attempt = "SELECT agent_id, state, tokens FROM ledger.attempts WHERE attempt_id::text = $1";
    wait_until(|| async {
        let rows = sql.query(attempt, &[&call.attempt]).await.unwrap();
        rows.iter().any(|row| row.get::<_, &str>(1) == "settled")
    })
    .await;
    let row = sql.query_one(attempt, &[&call.attempt]).await.unwrap();
    assert_eq!((row.get(0), row.get(2)), ("embermesh-system", i64::try_from(call.tokens).ok()));

    // of a kind: each of its entries
    pair.simulator.clear_calls();
    pair.simulator.deployments()[1].inject([Fault::status(500).forever()]);
    let checked = pair.admins[1].post("/api/v1/admin/providers/openai/health-check", json!({})).await.ok();
    let healthy: Vec<(&str, bool)> = checked["deployments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (one["name"].as_str().unwrap().split('/').next().unwrap(), one["healthy"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(healthy, [("a-one", true), ("b-two", false), ("c-large", true)], "{checked}");
    assert_eq!(pair.simulator.calls().len(), 3);
    pair.admins[0]
        .post("/api/v1/admin/providers/nobody/health-check", json!({}))
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn first_requests_that_race_on_two_routers_end_in_one_space() {
    let pair = Pair::start(&[("small", SMALL), ("large", LARGE)]).await;
    let [small, large] = pair.simulator.deployments() else { panic!() };
    // each router comes to know another model as the fast one
    for (n, (slow, fast)) in [(small, large), (large, small)].into_iter().enumerate() {
        slow.set_latency(Some(Latency::Fixed { ms: 200.0 }));
        fast.set_latency(Some(Latency::Fixed { ms: 1.0 }));
        let ask = |text: usize, model: &'static str| {
            let client = pair.agents[n].clone();
            async move {
                client
                    .post("/api/v1/embeddings", unstored("sampler", &format!("{n} {text}"), Some(model)))
                    .await
                    .ok()
            }
        };
        join_all((0..50).map(|text| ask(text, if text % 2 == 0 { SMALL } else { LARGE }))).await;
    }
    let preference = json!({
        "embedding_strategy": "speed",
        "model_preferences": [{"task_type": "general_qa", "primary_models": [SMALL, LARGE]}],
    });
    for n in 0..20 {
        pair.admins[0].put(&format!("/api/v1/embeddings/agents/racer-{n}"), preference.clone()).await.ok();
    }
    in_force().await;
    let mut preferred = Vec::new();
    for admin in &pair.admins {
        let explained = admin.post("/api/v1/embeddings/agents/racer-0/explain", json!({})).await.ok();
        preferred.push(explained["candidates"][0]["model"].as_str().unwrap().to_owned());
    }
    assert_eq!(preferred, [LARGE, SMALL], "the routers do not disagree: the race shows nothing");

    let race = |n: usize, gateway: usize| {
        let client = pair.agents[gateway].clone();
        let text = format!("racer {n} over {gateway}");
        async move {
            let body = json!({"agent_id": format!("racer-{n}"), "text": text});
            let made: Value = client.post("/api/v1/embeddings", body).await.ok();
            assert_right(&made, made["model_used"].as_str().unwrap(), &text);
            made["space_id"].as_str().unwrap().to_owned()
        }
    };
    let spaces = join_all((0..20).map(|n| async move { tokio::join!(race(n, 0), race(n, 1)) })).await;
    for (n, (one, other)) in spaces.iter().enumerate() {
        assert_eq!(one, other, "racer {n} lies in two spaces");
    }
    for (n, (space, _)) in spaces.iter().enumerate() {
        assert_eq!(race(n, n % 2).await, *space, "racer {n} moved");
    }
}
