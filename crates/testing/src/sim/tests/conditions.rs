//! Conditions as the client meets them, for every API that has a shape of its own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::{Api, Conditions, Deployment, DeploymentSpec, Fault, Latency, Limits, Simulator, vector};
use super::{Reply, SMALL, asks, client, embed, floats, one_deployment, post, send, texts};

async fn started(api: Api) -> Simulator {
    Simulator::start(&[DeploymentSpec::of(api, "one")]).await.unwrap()
}

/// The words of an error, whatever its shape.
fn words(body: &Value) -> String {
    [&body["error"]["message"], &body["detail"], &body["message"]]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn calls_over_the_limit_are_refused_in_the_apis_shape_and_counted() {
    for (api, path, body) in asks() {
        let sim = started(api).await;
        let one = &sim.deployments()[0];
        one.limit(Limits { rpm: Some(3), ..Limits::default() });
        for expected in [200, 200, 200, 429, 429] {
            let reply = send(&sim, path, &[], &body).await;
            assert_eq!(reply.status, expected, "{api:?}");
            if expected == 429 {
                let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((50..=60).contains(&wait), "{wait}");
                assert!(!words(&reply.body).contains("token"), "{}", reply.body);
            }
        }
        assert_eq!(one.refused_by_limits(), 2);

        one.limit(Limits { tpm: Some(1), ..Limits::default() });
        let reply = send(&sim, path, &[], &body).await;
        assert_eq!(reply.status, 429);
        assert!(words(&reply.body).contains("token"), "{}", reply.body);
        assert_eq!(one.refused_by_limits(), 3);
        one.heal();
        assert_eq!(send(&sim, path, &[], &body).await.status, 200);
    }
}

#[tokio::test]
async fn room_comes_back_when_the_window_has_passed() {
    let sim = one_deployment().await;
    sim.deployments()[0].limit(Limits { rpm: Some(1), window_ms: 50, ..Limits::default() });
    embed(&sim, &texts(&["x"])).await;
    let mut refused = 0;
    while post(&sim, &texts(&["x"])).await.unwrap().status() == 429 {
        refused += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(sim.deployments()[0].refused_by_limits(), refused);
}

#[tokio::test]
async fn a_marked_text_is_refused_in_the_apis_shape() {
    for (api, path, body) in asks() {
        let sim = started(api).await;
        sim.deployments()[0].refuse_text(Some("me tex"));
        let Reply { status, body: answer, .. } = send(&sim, path, &[], &body).await;
        assert_eq!(status, 400, "{api:?}");
        assert!(!words(&answer).is_empty());
        if api == Api::AzureOpenAi {
            assert_eq!(answer["error"]["code"], "content_filter");
        }
        sim.deployments()[0].refuse_text(Some("another"));
        assert_eq!(send(&sim, path, &[], &body).await.status, 200);
    }
}

#[tokio::test]
async fn a_used_up_quota_is_said_in_the_apis_own_way() {
    for ((api, path, body), expected) in asks().into_iter().zip([429, 429, 400, 429, 429, 429, 402]) {
        let sim = started(api).await;
        sim.deployments()[0].inject([Fault::QuotaUsedUp.times(1)]);
        let reply = send(&sim, path, &[], &body).await;
        assert_eq!(reply.status, expected, "{api:?}");
        if api == Api::OpenAi {
            assert_eq!(reply.body["error"]["code"], "insufficient_quota");
        }
        assert_eq!(send(&sim, path, &[], &body).await.status, 200);
    }
}

#[tokio::test]
async fn drift_gives_other_vectors_until_it_is_healed() {
    let sim = one_deployment().await;
    let drifted = async |deployment: &Deployment, drift| {
        deployment.drift(drift);
        floats(&embed(&sim, &texts(&["x"])).await, 0)
    };
    let one = &sim.deployments()[0];
    let right = vector(SMALL, "x", 1536);
    assert_ne!(drifted(one, 1).await, right);
    assert_ne!(drifted(one, 2).await, drifted(one, 1).await);
    assert_eq!(drifted(one, 0).await, right);
}

#[tokio::test]
async fn latency_comes_before_every_answer() {
    let sim = one_deployment().await;
    let one = &sim.deployments()[0];
    one.set_latency(Some(Latency::Fixed { ms: 60.0 }));
    one.inject([Fault::status(500).times(1)]);
    for status in [500, 200] {
        let asked = Instant::now();
        assert_eq!(post(&sim, &texts(&["x"])).await.unwrap().status(), status);
        assert!(asked.elapsed() >= Duration::from_millis(60));
    }
}

#[tokio::test]
async fn a_deployment_that_is_down_refuses_connections_and_comes_back_on_its_port() {
    let sim = one_deployment().await;
    let one = &sim.deployments()[0];
    let client = client();
    let url = format!("{}/models", one.base_url());
    for _ in 0..3 {
        assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
        one.go_down().await;
        let refused = client.get(&url).send().await.unwrap_err();
        assert!(refused.is_connect(), "{refused:?}");
        one.come_up().await;
    }
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn going_down_ends_calls_in_flight() {
    let sim = one_deployment().await;
    let one = &sim.deployments()[0];
    one.inject([Fault::Hang.forever()]);
    let question = texts(&["x"]);
    let in_flight = async {
        while sim.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        one.go_down().await;
    };
    let (answer, ()) = tokio::join!(post(&sim, &question), in_flight);
    assert!(answer.is_err());
}

#[tokio::test]
async fn healing_returns_to_the_conditions_of_the_start() {
    let limits = Limits { rpm: Some(5), ..Limits::default() };
    let conditions = Conditions { limits, drift: 3, ..Conditions::default() };
    let spec = DeploymentSpec { conditions: conditions.clone(), ..DeploymentSpec::named("a") };
    let sim = Simulator::start(&[spec]).await.unwrap();
    let one = &sim.deployments()[0];
    one.drift(9);
    one.limit(Limits::default());
    one.refuse_text(Some("x"));
    one.go_down().await;
    one.heal();
    one.settled().await;
    assert_eq!(*one.conditions(), conditions);
    assert_ne!(floats(&embed(&sim, &texts(&["x"])).await, 0), vector(SMALL, "x", 1536));
}

#[tokio::test]
async fn conditions_are_set_over_http_also_for_one_that_is_down() {
    let mut sim = Simulator::start(&[DeploymentSpec::named("a"), DeploymentSpec::named("b")]).await.unwrap();
    let control = sim.serve_control(([127, 0, 0, 1], 0).into()).await.unwrap();
    let client = client();
    let put =
        async |url: String, body: Value| client.put(url).json(&body).send().await.unwrap().status().as_u16();
    let [own, control] = [sim.deployments()[0].control_url(), format!("http://{control}/_sim")]
        .map(|url| format!("{url}/faults"));

    let conditions =
        json!({"latency": {"kind": "uniform", "min_ms": 1, "max_ms": 2}, "limits": {"rpm": 9}, "down": true});
    assert_eq!(
        put(own.clone(), json!({"conditions": conditions})).await,
        204,
        "over the connection that goes down"
    );
    sim.deployments()[0].settled().await;
    assert!(client.get(&own).send().await.is_err());
    assert_eq!(put(control.clone(), json!({"conditions": {}})).await, 404, "of which deployment?");
    assert_eq!(
        put(control.clone(), json!({"deployment": "a", "conditions": {"limits": {"rpm": 7}}})).await,
        204
    );
    let states: Value = client.get(&own).send().await.unwrap().json().await.unwrap();
    assert_eq!(states[0]["conditions"]["limits"]["rpm"], 7);
    assert_eq!(states[0]["conditions"]["latency"], Value::Null);
    assert_eq!(states[1]["refused_by_limits"], 0);
    for wrong in [
        json!({}),
        json!({"conditions": {"drift": -1}}),
        json!({"conditions": {"latency": {"kind": "slow"}}}),
    ] {
        assert_eq!(put(own.clone(), wrong).await, 400);
    }
    assert_eq!(client.get(control.replace("_sim/faults", "v1/models")).send().await.unwrap().status(), 404);
}
