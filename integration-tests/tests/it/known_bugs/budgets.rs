//! Budgets that others let be passed, or refuse money that is there. Two routers, each with a gateway of its own; the cases follow one
//! another, each with agents of its own.

use std::time::Duration;

use embermesh_proto::v1::{EmbedRequest, embeddings_client::EmbeddingsClient};
use embermesh_testing::sim::{Fault, Latency};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::Request;

use crate::{
    books,
    money::{
        balances::{balance, quiet, spent_by},
        budgets::Budget,
        fleet::{COST, EMBED, EVEN, Fleet, Tally, one, text},
    },
    running::wait_until,
};

struct System {
    fleet: Fleet,
    sql: tokio_postgres::Client,
}

impl System {
    /// BerriAI/litellm#34732: concurrent requests pass the same check.
    async fn requests_at_the_same_moment_do_not_pass_the_same_check(&self) {
        self.fleet.limit("racers", 7 * COST).await;
        self.fleet.tally("racers", "racing", 100, 50).await.exactly(7, 100);
    }

    /// BerriAI/litellm#26672: a key's and a user's budget is not looked at; #40095: nor is it for somebody unknown.
    async fn a_keys_budget_holds_on_every_route_and_for_agents_nobody_knows(&self) {
        let key = self.fleet.running.keys["agent_key"].as_str().unwrap().split('_').nth(2).unwrap();
        quiet(&self.sql).await;
        let spent = balance(&self.sql, "key", key, "month").await.spent;
        let budget = Budget::create(&self.fleet.running, "key", key, "month", spent + 8 * COST).await;
        let mut admitted = 0;
        for n in 0..12 {
            let before = self.fleet.texts_sent();
            let status = self.by_route(n, &format!("stranger-{n}"), &text("by route", n)).await;
            assert!(status == 200 || status == 402, "route {}: {status}", n % ROUTES);
            assert_eq!(self.fleet.texts_sent() - before, usize::from(status == 200), "route {}", n % ROUTES);
            admitted += i32::from(status == 200);
        }
        assert_eq!(admitted, 8);
        budget.remove(&self.fleet.running).await;
    }

    /// One text by one of the ways that there are; its status as in HTTP.
    async fn by_route(&self, route: usize, agent: &str, text: &str) -> u16 {
        let client = &self.fleet.clients[route % 2];
        let openai = |input: Value| {
            client.post("/v1/embeddings", json!({"model": EVEN, "input": input, "user": agent}))
        };
        match route % ROUTES {
            0 => client.post(EMBED, one(agent, text)).await.status,
            1 => openai(text.into()).await.status,
            2 => openai(json!([text])).await.status,
            3 => {
                let query = json!({"query": text, "agent_id": agent, "model": EVEN});
                client.post(&format!("{EMBED}/search"), query).await.status
            }
            4 => {
                let answer = client.post(&format!("{EMBED}/batch"), json!([one(agent, text)])).await;
                let refused = answer.body["embeddings"][0]["error"]["code"] == "budget_exceeded";
                if refused { 402 } else { answer.status }
            }
            _ => {
                let url = self.fleet.running.url.clone();
                let channel = tonic::transport::Endpoint::new(url).unwrap().connect().await.unwrap();
                let mut request = Request::new(EmbedRequest {
                    agent_id: agent.to_owned(),
                    text: text.to_owned(),
                    model: Some(EVEN.to_owned()),
                    store: Some(false),
                    ..EmbedRequest::default()
                });
                let key = self.fleet.running.keys["agent_key"].as_str().unwrap();
                request.metadata_mut().insert("x-api-key", key.parse().unwrap());
                match EmbeddingsClient::new(channel).embed(request).await {
                    Ok(_) => 200,
                    Err(status) if status.message().contains("budget") => 402,
                    Err(status) => panic!("{status:?}"),
                }
            }
        }
    }

    /// BerriAI/litellm#33923: it "fails closed", and open all the same when the write of the reservation fails.
    async fn when_a_reservation_cannot_be_written_nothing_is_called(&self) {
        // nobody has a lease for an agent that never spent anything
        self.sql.batch_execute("REVOKE INSERT ON ledger.attempts FROM embermesh_app").await.unwrap();
        let before = self.fleet.simulator.calls().len();
        for n in 0..4 {
            let answer = self.fleet.clients[n % 2].post(EMBED, one("unwritten", &text("unwritten", n))).await;
            assert!(answer.status >= 500, "{} {}", answer.status, answer.body);
        }
        assert_eq!(self.fleet.simulator.calls().len(), before, "a call without a reservation");
        self.sql.batch_execute("GRANT INSERT ON ledger.attempts TO embermesh_app").await.unwrap();
        wait_until(|| async {
            self.fleet.clients[0].post(EMBED, one("unwritten", &text("written", 0))).await.status == 200
        })
        .await;
    }

    /// BerriAI/litellm#27639: reservations are never released; #35569: a failed clean-up counts twice.
    async fn what_failed_or_was_given_up_is_released_once(&self) {
        self.fleet.limit("unlucky", 6 * COST).await;
        let provider = &self.fleet.simulator.deployments()[0];
        for round in 0..4 {
            provider.inject([Fault::status(400).times(3)]);
            let failed = self.fleet.burst("unlucky", &format!("failing {round}"), 3, 1).await;
            assert!(failed.iter().all(|answer| answer.status == 400), "{}", failed[0].body);
        }
        // fails, is called again, and answers: one call is paid
        provider.inject([Fault::status(500).times(1)]);
        self.fleet.tally("unlucky", "second try", 1, 1).await.exactly(1, 1);
        // nobody waits any more, and the call answers after all: it is paid, once
        let before = self.fleet.texts_sent();
        provider.set_latency(Some(Latency::Fixed { ms: 500.0 }));
        let asked = self.fleet.clients[0].post(EMBED, one("unlucky", &text("given up", 0)));
        assert!(timeout(Duration::from_millis(150), asked).await.is_err());
        wait_until(|| async { self.fleet.texts_sent() > before }).await;
        provider.set_latency(None);
        self.fleet.tally("unlucky", "the rest", 10, 2).await.exactly(4, 10);
        wait_until(|| async { spent_by(&self.sql, "unlucky").await == 6 * COST }).await;
    }

    /// BerriAI/litellm#36592: one of the routes did not bring its reservation to the end, and a key was refused at 0.4 % of its budget.
    async fn every_route_ends_what_it_has_reserved(&self) {
        for n in 0..3 * ROUTES {
            assert_eq!(
                self.by_route(n, "traveller", &text("travelling", n)).await,
                200,
                "route {}",
                n % ROUTES
            );
        }
        quiet(&self.sql).await;
        let expected = 3 * ROUTES as i64 * COST;
        assert_eq!(spent_by(&self.sql, "traveller").await, expected);
        self.fleet.limit("traveller", expected + 2 * COST).await;
        self.fleet.tally("traveller", "and two more", 5, 1).await.exactly(2, 5);
    }

    /// BerriAI/litellm#36926: the counter was twice what had been spent; #40050: 111 dollars enforced of 55 spent.
    async fn the_counter_that_decides_is_what_was_spent(&self) {
        let before = self.fleet.spent();
        self.fleet.limit("counted", 40 * COST).await;
        self.fleet.tally("counted", "once", 20, 8).await.exactly(20, 20);
        // hits cost nothing, wherever they come from, and neither do texts that many wait for
        for _ in 0..2 {
            join_all(
                (0..20).map(|n| self.fleet.clients[n % 2].post(EMBED, one("counted", &text("once", n)))),
            )
            .await;
        }
        let hits_of_others = self.fleet.spent() - before - 20 * COST;
        let provider = &self.fleet.simulator.deployments()[0];
        provider.set_latency(Some(Latency::Fixed { ms: 300.0 }));
        let same = (0..10).map(|_| self.fleet.clients[0].post(EMBED, one("counted", &text("the same", 0))));
        let paid = Tally::of(&join_all(same).await);
        provider.set_latency(None);
        assert_eq!((paid.admitted, paid.paid), (10, COST));
        let sent = self.fleet.spent() - before;
        assert_eq!(sent, 21 * COST + hits_of_others);
        wait_until(|| async { spent_by(&self.sql, "counted").await == sent }).await;
        let left = usize::try_from((40 * COST - sent) / COST).unwrap();
        self.fleet.tally("counted", "up to the limit", left + 5, 4).await.exactly(left, left + 5);
        let report = self.fleet.running.admin().get(&format!("{EMBED}/agents/counted/costs")).await.ok();
        let told = |value: &Value| crate::money::nanos(&value.to_string());
        wait_until(|| async { spent_by(&self.sql, "counted").await == 40 * COST }).await;
        assert!(told(&report["budget"]["spent"]) <= 40 * COST, "{report}");
    }

    /// BerriAI/litellm#27735: a counter that nobody had brought up to date decided.
    async fn what_was_spent_is_known_after_everything_was_killed(&mut self) {
        self.fleet.limit("survivor", 9 * COST).await;
        self.fleet.tally("survivor", "before", 6, 3).await.exactly(6, 6);
        // the ledger, both routers
        for process in [2, 1, 5] {
            self.fleet.running.start_again_at(process).await;
        }
        self.fleet.until_answering().await;
        self.fleet.tally("survivor", "after", 12, 6).await.exactly(3, 12);
    }
}

/// Ways to have a text embedded.
const ROUTES: usize = 6;

#[tokio::test]
async fn budgets_hold_and_nothing_that_is_left_is_refused() {
    let fleet = Fleet::of(2).await;
    let sql = fleet.running.sql().await;
    let mut system = System { fleet, sql };
    system.requests_at_the_same_moment_do_not_pass_the_same_check().await;
    system.a_keys_budget_holds_on_every_route_and_for_agents_nobody_knows().await;
    system.when_a_reservation_cannot_be_written_nothing_is_called().await;
    system.what_failed_or_was_given_up_is_released_once().await;
    system.every_route_ends_what_it_has_reserved().await;
    system.the_counter_that_decides_is_what_was_spent().await;
    system.what_was_spent_is_known_after_everything_was_killed().await;
    books::match_calls(&system.fleet.simulator, &system.sql).await;
    quiet(&system.sql).await;
    books::add_up(&system.sql).await;
}
