//! Every way to fail, with a healthy peer and without: success or the documented error, no bad vector kept, in time, and few calls more
//! than requests.

use std::{collections::BTreeMap, time::Duration};

use embermesh_proto::v1::EmbedRequest;
use embermesh_testing::sim::{Fault, RetryAfter, Simulator};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    books,
    client::{cosine, floats},
    running::Running,
    simulated::{
        LARGE, LARGE_SPACE, QUIET, SMALL, assert_right, chosen_entry, entry, is_right, openai, reset, stored,
        yaml,
    },
    timed::{self, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE},
};

/// What a client is told when nobody else can serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Unavailable,
    /// Later, by the provider's own word.
    RateLimited,
    /// The provider may answer yet, but not in time.
    TooLate,
}

impl Told {
    fn fits(self, code: i32) -> bool {
        match self {
            Self::Unavailable => code == UNAVAILABLE,
            Self::RateLimited => code == RESOURCE_EXHAUSTED,
            // it may be known before the deadline that there is no time for another try
            Self::TooLate => [DEADLINE_EXCEEDED, UNAVAILABLE].contains(&code),
        }
    }
}

/// A way to fail, what a client is told of it when nobody else can serve, and how its attempt is booked.
struct Case(&'static str, Fault, Told, &'static str);

/// A refusal was not billed.
const FREE: &str = "voided";
/// Nobody can know, or whatever answered stands before the provider, which may have gone on.
const MAYBE: &str = "presumed";

fn cases() -> Vec<Case> {
    use Told::{RateLimited, TooLate, Unavailable};
    let throttled = |wait| Fault::status(429).retry_after(wait);
    vec![
        Case("401", Fault::status(401), Unavailable, FREE),
        Case("403", Fault::status(403), Unavailable, FREE),
        Case("404", Fault::status(404), Unavailable, FREE),
        Case("408", Fault::status(408), Unavailable, MAYBE),
        Case("429, Retry-After in seconds", throttled(RetryAfter::Seconds(30)), RateLimited, FREE),
        Case("429, Retry-After as a date", throttled(RetryAfter::Date(30)), RateLimited, FREE),
        Case("429, retry-after-ms", throttled(RetryAfter::Millis(30_000)), RateLimited, FREE),
        Case("quota used up", Fault::QuotaUsedUp, Unavailable, FREE),
        Case("500", Fault::status(500), Unavailable, FREE),
        Case("502", Fault::status(502), Unavailable, MAYBE),
        Case("503", Fault::status(503), Unavailable, FREE),
        Case("503, Retry-After", Fault::status(503).retry_after(RetryAfter::Seconds(30)), Unavailable, FREE),
        Case("504", Fault::status(504), Unavailable, MAYBE),
        Case("529", Fault::status(529), Unavailable, FREE),
        Case("hang", Fault::Hang, TooLate, MAYBE),
        Case("trickle", Fault::Trickle { bytes: 64, every_ms: 200 }, TooLate, MAYBE),
        Case("reset before the request was read", Fault::ResetBeforeRead, Unavailable, MAYBE),
        Case("reset after the request was read", Fault::ResetAfterRead, Unavailable, MAYBE),
        Case("truncated JSON", Fault::TruncatedJson, Unavailable, MAYBE),
        Case("200 with an error body", Fault::ErrorWithStatus200, Unavailable, MAYBE),
        Case("wrong count", Fault::WrongCount, Unavailable, MAYBE),
        Case("wrong index", Fault::WrongIndex, Unavailable, MAYBE),
        Case("wrong dimensions", Fault::WrongDims, Unavailable, MAYBE),
        Case("NaN", Fault::NotANumber, Unavailable, MAYBE),
        Case("zero vector", Fault::ZeroVector, Unavailable, MAYBE),
    ]
}

/// The deadline of a request that nobody can serve.
const DEADLINE: Duration = Duration::from_millis(1500);
/// Ordinary requests around each fault.
const ORDINARY: usize = 9;

/// Two deployments of one model and one of another; breakers that this many failures in a minute do not open.
async fn peers_and_a_lone_one() -> (Simulator, Running) {
    let simulator = openai(&["a-one", "b-two", "lone"]).await;
    let models = [SMALL, SMALL, LARGE];
    let entries: Vec<String> = simulator
        .deployments()
        .iter()
        .zip(models)
        // long enough that nothing but the fault ever takes so long
        .map(|(deployment, model)| entry(deployment, &[model], ", timeout: 5s"))
        .collect();
    let breaker = "circuit_breaker: {failure_threshold: 100000, minimum_calls: 100000}";
    let running = Running::one(&yaml(&entries, &[QUIET, breaker])).await;
    (simulator, running)
}

/// Requests with nothing wrong.
async fn ordinary(running: &Running, model: &str, name: &str) {
    let client = running.agent();
    let ask = |n: usize| {
        let text = format!("ordinary {name} {n}");
        let body = json!({"agent_id": "ordinary", "text": text, "model": model, "store": false});
        let client = client.clone();
        async move { assert_right(&client.post("/api/v1/embeddings", body).await.ok(), model, &text) }
    };
    join_all((0..ORDINARY).map(ask)).await;
}

async fn stored_right(running: &Running, made: &Value, family: &str, text: &str) {
    assert_right(made, family, text);
    let kept = stored(&running.agent(), &made["embedding_id"]).await;
    assert!(
        cosine(&kept, &floats(&made["embedding"])) > 0.9999,
        "{text:?} is stored otherwise than answered"
    );
}

#[tokio::test]
async fn with_a_healthy_peer_no_client_sees_a_fault_and_no_bad_vector_is_kept() {
    let (simulator, running) = peers_and_a_lone_one().await;
    let client = running.agent();
    let (mut requests, mut expected) = (0, BTreeMap::new());
    for Case(name, fault, _, booked) in cases() {
        // which of the two is called is the router's choice: until the fault has struck
        for n in 0.. {
            assert!(n < 20, "{name}: the deployment with the fault is never called");
            let chosen = chosen_entry(&running, SMALL).await.unwrap();
            let deployment = simulator.deployment(&chosen).unwrap();
            deployment.inject([fault.clone().times(1)]);
            let text = format!("{name} {n}");
            let made = client
                .post("/api/v1/embeddings", json!({"agent_id": "peer", "text": text, "model": SMALL}))
                .await;
            assert_eq!(made.status, 200, "{name}: {}", made.body);
            stored_right(&running, &made.ok(), SMALL, &text).await;
            // from memory, it is the same
            let again = client.post("/v1/embeddings", json!({"model": SMALL, "input": text})).await.ok();
            assert!(
                is_right(&floats(&again["data"][0]["embedding"]), SMALL, &text),
                "{name}: a bad vector is cached"
            );
            requests += 1;
            let struck = deployment.pending_faults().is_empty();
            deployment.heal();
            if struck {
                let calls = simulator.calls();
                let failed = calls.iter().rev().find(|call| call.fault.is_some()).unwrap();
                let fate = (name, failed.deployment.clone(), booked);
                assert!(expected.insert(failed.attempt.clone().unwrap(), fate).is_none());
                break;
            }
        }
        ordinary(&running, SMALL, name).await;
        requests += ORDINARY;
        reset(&running, SMALL).await;
    }
    let calls = simulator.calls().len();
    println!("{calls} calls for {requests} requests");
    assert!(calls as f64 <= 1.2 * requests as f64, "{calls} calls for {requests} requests");

    let metrics = reqwest::get(format!("{}/metrics", running.url)).await.unwrap().text().await.unwrap();
    let failovers = metrics.lines().filter(|line| line.starts_with("embedding_failovers_total{"));
    let failovers: usize =
        failovers.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    let logs = running.logs();
    let failed: Vec<&str> = logs.lines().filter(|line| line.contains("a provider call failed")).collect();
    assert_eq!(failovers, expected.len(), "{failed:#?}");
    let sql = running.sql().await;
    books::match_calls(&simulator, &sql).await;
    books::add_up(&sql).await;
    let rows =
        sql.query("SELECT attempt_id::text, deployment, state FROM ledger.attempts", &[]).await.unwrap();
    let booked: BTreeMap<String, (String, String)> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    let wrong: Vec<String> = expected
        .into_iter()
        .filter(|(attempt, (_, deployment, state))| {
            booked[attempt] != (deployment.clone(), (*state).to_owned())
        })
        .map(|(attempt, (name, _, state))| format!("{name}: {:?}, not {state}", booked[&attempt]))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn without_a_peer_the_client_gets_the_documented_error_in_time_and_nothing_is_kept() {
    let (simulator, running) = peers_and_a_lone_one().await;
    let client = running.agent();
    let lone = simulator.deployment("lone").unwrap();
    let (mut requests, mut latest) = (0, Duration::ZERO);
    println!("{:36} {:>11} {:>9} {:>6}", "fault of the only deployment", "client sees", "after", "calls");
    for Case(name, fault, told, _) in cases() {
        ordinary(&running, LARGE, name).await;
        let before = simulator.calls().len();
        lone.inject([fault.forever()]);
        let text = format!("lone {name}");
        let body = EmbedRequest {
            agent_id: "lone".to_owned(),
            text: text.clone(),
            model: Some(LARGE.to_owned()),
            ..EmbedRequest::default()
        };
        let (answer, took) = timed::embed(&running, &body, DEADLINE).await;
        let (code, message) = answer.expect_err(name);
        latest = latest.max(took);
        let calls = simulator.calls().len() - before;
        println!("{name:36} {code:>11} {:>6} ms {calls:>6}", took.as_millis());
        assert!(told.fits(code), "{name}: {code} {message}, not {told:?}");
        assert!(!message.is_empty());
        assert!(took < 2 * DEADLINE, "{name}: {took:?}");
        requests += ORDINARY + 1;

        lone.heal();
        reset(&running, LARGE).await;
        let kept = client
            .get(&format!("/api/v1/embeddings?agent_id=lone&space_id={}", LARGE_SPACE.replace('@', "%40")))
            .await
            .ok();
        let contents = kept["embeddings"].as_array().unwrap().iter().map(|row| &row["content"]);
        assert!(
            contents.into_iter().all(|content| *content != text.as_str()),
            "{name}: a row without a vector"
        );
        let body = json!({"agent_id": "lone", "text": text, "model": LARGE});
        let made = client.post("/api/v1/embeddings", body).await.ok();
        stored_right(&running, &made, LARGE, &text).await;
        requests += 1;
    }
    let calls = simulator.calls().len();
    println!(
        "{calls} calls for {requests} requests; the latest answer came {:?} after its deadline",
        latest.saturating_sub(DEADLINE)
    );
    assert!(calls as f64 <= 1.2 * requests as f64, "{calls} calls for {requests} requests");
}

#[tokio::test]
async fn content_that_the_provider_refuses_is_the_clients_error_and_tried_nowhere_else() {
    let (simulator, running) = peers_and_a_lone_one().await;
    for deployment in simulator.deployments() {
        deployment.refuse_text(Some("unspeakable"));
    }
    let body = json!({"agent_id": "rude", "text": "an unspeakable text", "model": SMALL});
    running.agent().post("/api/v1/embeddings", body).await.refused(400, "invalid_request");
    assert_eq!(simulator.calls().len(), 1);
}
