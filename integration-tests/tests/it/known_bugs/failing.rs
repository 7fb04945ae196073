//! Providers that fail and clients that do not wait: what is called again and how often, and what a breaker must not learn from it.

use std::time::Duration;

use embermesh_proto::v1::{EmbedRequest, embeddings_client::EmbeddingsClient};
use embermesh_testing::sim::{Call, Deployment, Fault, Latency, RetryAfter, Simulator};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tonic::Request;

use crate::{
    client::Answer,
    running::{Running, wait_until},
    simulated::{QUIET, SMALL, assert_right, candidate, entry, explain, openai, reset, unstored, yaml},
};

/// It opens soon and closes soon.
const BREAKER: &str = "circuit_breaker: {failure_threshold: 5, success_threshold: 1, timeout: 1s, ramp: 1s}";

struct System {
    simulator: Simulator,
    running: Running,
}

impl System {
    async fn start() -> Self {
        let simulator = openai(&["lone"]).await;
        let entries = [entry(&simulator.deployments()[0], &[SMALL], ", timeout: 10s")];
        let running = Running::one(&yaml(&entries, &[QUIET, BREAKER])).await;
        Self { simulator, running }
    }

    fn lone(&self) -> &Deployment {
        &self.simulator.deployments()[0]
    }

    async fn ask(&self, text: &str) -> Answer {
        let answer =
            self.running.agent().post("/api/v1/embeddings", unstored("asker", text, Some(SMALL))).await;
        if answer.status == 200 {
            assert_right(&answer.body, SMALL, text);
        }
        answer
    }

    /// A client that goes away after a moment.
    async fn give_up_on(&self, text: &str, after: Duration) {
        assert!(
            timeout(after, self.ask(text)).await.is_err(),
            "{text:?} was answered before its client went away"
        );
    }

    /// The deployment, as the router sees it now.
    async fn seen(&self) -> Value {
        let explained = explain(&self.running, "nobody", json!({"model": SMALL})).await;
        candidate(&explained, &format!("lone/{SMALL}")).clone()
    }

    async fn until_open(&self) {
        self.lone().inject([Fault::status(500).forever()]);
        for n in 0.. {
            self.ask(&format!("to open it {n}")).await;
            if self.seen().await["circuit_breaker_state"] == "open" {
                return;
            }
            assert!(n < 60, "it does not open");
            sleep(Duration::from_millis(60)).await;
        }
    }

    async fn assert_closed(&self, what: &str) {
        assert_eq!(self.seen().await["circuit_breaker_state"], "closed", "{what}");
    }

    /// Everything is well again, and the log is empty.
    async fn settle(&self) {
        self.lone().heal();
        reset(&self.running, SMALL).await;
        wait_until(|| async { self.seen().await["circuit_breaker_state"] == "closed" }).await;
        self.simulator.clear_calls();
    }

    fn calls_for(&self, text: &str) -> Vec<Call> {
        let calls = self.simulator.calls();
        calls.into_iter().filter(|call| call.texts.iter().any(|sent| sent == text)).collect()
    }

    /// BerriAI/litellm#27363, #14403; the original did not retry a plain 500, and made up to forty calls for one request.
    async fn a_plain_error_is_tried_again_and_three_calls_are_the_most(&self) {
        self.lone().inject([Fault::status(500).times(1)]);
        self.ask("fails once").await.ok();
        assert_eq!(self.calls_for("fails once").len(), 2);
        self.lone().inject([Fault::status(500).forever()]);
        self.ask("fails for ever").await.refused(503, "unavailable");
        assert_eq!(self.calls_for("fails for ever").len(), 3);
        // the original never learned from a result
        let seen = self.seen().await;
        assert!(seen["measured"]["success_rate"].as_f64().unwrap() < 1.0, "{seen}");
        assert!(seen["parts"]["success"].as_f64().unwrap() < 1.0, "{seen}");
        self.settle().await;
    }

    /// The original looked for words such as `timeout` and `429` in the error's text.
    async fn an_error_is_what_its_status_says_and_not_its_words(&self) {
        let body = r#"{"error": {"message": "connection timeout, 429 too many requests, 503, temporary"}}"#;
        let words = Fault::Status { status: 400, retry_after: None, body: Some(body.to_owned()) };
        self.lone().inject([words.forever()]);
        self.ask("refused in other words").await.refused(400, "invalid_request");
        assert_eq!(self.calls_for("refused in other words").len(), 1);
        self.settle().await;
    }

    /// BerriAI/litellm#27823, #4695, #6011; MemTensor/MemOS#1620.
    async fn a_throttle_is_waited_for_as_long_as_it_says(&self) {
        self.lone().inject([Fault::status(429).retry_after(RetryAfter::Seconds(1)).times(1)]);
        self.ask("later").await.ok();
        let calls = self.calls_for("later");
        let [first, second] = &calls[..] else { panic!("{calls:?}") };
        assert!(second.received_ms >= first.answered_ms.unwrap() + 990, "{calls:?}");
        self.settle().await;
    }

    /// A throttle is no failure: envoyproxy/ai-gateway#1866.
    async fn a_storm_of_throttles_opens_no_breaker(&self) {
        self.lone().inject([Fault::status(429).retry_after(RetryAfter::Millis(20)).forever()]);
        join_all((0..6).map(|n| async move {
            sleep(Duration::from_millis(80 * n)).await;
            self.ask(&format!("in a storm {n}")).await.refused(429, "rate_limited");
        }))
        .await;
        assert!(self.simulator.calls().len() >= 10, "{} calls are no storm", self.simulator.calls().len());
        self.assert_closed("throttles opened the breaker").await;
        self.lone().heal();
        self.ask("after the storm").await.ok();
        self.settle().await;
    }

    /// The original's retries were not bound to the request: they went on when its client had gone.
    async fn nothing_is_called_again_for_a_client_that_has_gone(&self) {
        self.lone().set_latency(Some(Latency::Fixed { ms: 600.0 }));
        self.lone().inject([Fault::status(500).forever()]);
        self.give_up_on("asked and gone", Duration::from_millis(250)).await;
        sleep(Duration::from_millis(1800)).await;
        assert_eq!(self.calls_for("asked and gone").len(), 1);
        self.settle().await;
    }

    /// resilience4j/resilience4j#935, #903, #544; the original's `half_open` used up its slots on candidates that were only listed.
    async fn neither_looking_at_it_nor_leaving_it_uses_up_a_half_open_breaker(&self) {
        self.until_open().await;
        self.lone().heal();
        self.lone().set_latency(Some(Latency::Fixed { ms: 700.0 }));
        sleep(Duration::from_millis(1300)).await;
        for _ in 0..20 {
            self.seen().await;
        }
        for n in 0..4 {
            let text = format!("a probe that is left {n}");
            // or refused at once, while another one's probe is out
            let _left = timeout(Duration::from_millis(200), self.ask(&text)).await;
        }
        self.lone().set_latency(None);
        wait_until(|| async { self.ask("served again").await.status == 200 }).await;
        wait_until(|| async { self.seen().await["circuit_breaker_state"] == "closed" }).await;
        self.settle().await;
    }

    /// A client that goes away says nothing about the provider: the caller's cancellation is ignored by the breaker.
    async fn clients_that_go_away_open_no_breaker(&self) {
        self.lone().set_latency(Some(Latency::Fixed { ms: 4000.0 }));
        // on a busy machine some are gone before they are heard
        for round in 0..10 {
            join_all((0..10).map(|n| async move {
                sleep(Duration::from_millis(60 * n)).await;
                self.give_up_on(&format!("not waited for {round} {n}"), Duration::from_millis(500)).await;
            }))
            .await;
            // beyond what such calls are let go on
            sleep(Duration::from_millis(2500)).await;
            if self.simulator.calls().len() >= 5 {
                break;
            }
        }
        assert!(self.simulator.calls().len() >= 5, "{} calls show nothing", self.simulator.calls().len());
        self.assert_closed("clients that went away opened the breaker").await;
        self.settle().await;
    }

    /// A request for one text that nothing stores, over gRPC and with a deadline.
    async fn hurry(&self, text: &str, within: Duration) -> Result<(), tonic::Status> {
        let channel =
            tonic::transport::Endpoint::new(self.running.url.clone()).unwrap().connect().await.unwrap();
        let mut request = Request::new(EmbedRequest {
            agent_id: "hasty".to_owned(),
            text: text.to_owned(),
            model: Some(SMALL.to_owned()),
            store: Some(false),
            ..EmbedRequest::default()
        });
        let key = self.running.keys["agent_key"].as_str().unwrap();
        request.metadata_mut().insert("x-api-key", key.parse().unwrap());
        request.set_timeout(within);
        EmbeddingsClient::new(channel).embed(request).await.map(drop)
    }

    /// Nor does a deadline that no provider could keep: it would let one caller shut out all the others.
    async fn deadlines_that_no_provider_keeps_open_no_breaker_for_the_others(&self) {
        self.lone().set_latency(Some(Latency::Fixed { ms: 400.0 }));
        for round in 0..10 {
            join_all((0..12).map(|n| async move {
                sleep(Duration::from_millis(80 * n)).await;
                self.hurry(&format!("in no time {round} {n}"), Duration::from_millis(120)).await.unwrap_err();
            }))
            .await;
            if self.simulator.calls().len() >= 5 {
                break;
            }
        }
        assert!(self.simulator.calls().len() >= 5, "{} calls show nothing", self.simulator.calls().len());
        self.assert_closed("one caller's deadlines opened the breaker for everybody").await;
        self.ask("somebody patient").await.ok();
        self.settle().await;
    }

    /// Whoever joins somebody else's call does not share that one's haste: deltawi/deltallm#237.
    async fn whoever_joins_a_hurried_request_has_the_time_of_its_own(&self) {
        self.lone().set_latency(Some(Latency::Fixed { ms: 500.0 }));
        let patient = async {
            sleep(Duration::from_millis(60)).await;
            self.ask("asked by two").await
        };
        let (hurried, patient) =
            tokio::join!(self.hurry("asked by two", Duration::from_millis(200)), patient);
        hurried.unwrap_err();
        patient.ok();
        self.settle().await;
    }

    /// The original failed a whole batch for one entry.
    async fn an_entry_that_the_provider_refuses_fails_alone(&self) {
        self.lone().refuse_text(Some("poison"));
        let text = |n: usize| if n == 2 { "a drop of poison".to_owned() } else { format!("harmless {n}") };
        let entries: Vec<Value> = (0..5).map(|n| unstored("asker", &text(n), Some(SMALL))).collect();
        let answer = self.running.agent().post("/api/v1/embeddings/batch", json!(entries)).await.ok();
        assert_eq!(
            answer["embeddings"][2]["error"]["code"], "invalid_request",
            "{}",
            answer["embeddings"][2]
        );
        assert_eq!(
            answer["failed"], 1,
            "one refused entry takes the others along: {}",
            answer["embeddings"][0]["error"]
        );
        self.settle().await;
    }
}

#[tokio::test]
async fn failures_are_tried_again_within_bounds_and_fail_nobody_else() {
    let system = System::start().await;
    system.a_plain_error_is_tried_again_and_three_calls_are_the_most().await;
    system.an_error_is_what_its_status_says_and_not_its_words().await;
    system.a_throttle_is_waited_for_as_long_as_it_says().await;
    system.nothing_is_called_again_for_a_client_that_has_gone().await;
    system.whoever_joins_a_hurried_request_has_the_time_of_its_own().await;
    system.an_entry_that_the_provider_refuses_fails_alone().await;
}

#[tokio::test]
async fn a_breaker_learns_from_the_provider_alone_and_is_never_stuck() {
    let system = System::start().await;
    system.neither_looking_at_it_nor_leaving_it_uses_up_a_half_open_breaker().await;
    system.deadlines_that_no_provider_keeps_open_no_breaker_for_the_others().await;
    system.clients_that_go_away_open_no_breaker().await;
    // the last, for it leaves the deployment few calls at a time
    system.a_storm_of_throttles_opens_no_breaker().await;
}
