//! What an agent wants when its budget does not hold a call: a refusal, or something cheaper under the same rules of spaces.

use embermesh_testing::sim::{DeploymentSpec, ModelSpec, Simulator};
use serde_json::{Value, json};

use super::{
    fleet::{EMBED, day_limit_in_force, text},
    nanos, usd,
};
use crate::{
    client::Answer,
    running::Running,
    simulated::{QUIET, entry, in_force, yaml},
};

const PINNED: &str = "asked-for";
const OTHER: &str = "much-cheaper";
/// Of a text, at the cheap entry of the one model, and of the other model; at the dear entry it is 40,000.
const CHEAP: i64 = 4_000;
const LEAST: i64 = 400;

struct System {
    _simulator: Simulator,
    running: Running,
}

impl System {
    async fn start() -> Self {
        let specs = [("dear", PINNED), ("cheap", PINNED), ("least", OTHER)].map(|(name, model)| {
            DeploymentSpec { models: vec![ModelSpec::new(model, 64, false)], ..DeploymentSpec::named(name) }
        });
        let simulator = Simulator::start(&specs).await.unwrap();
        let entries: Vec<String> = simulator
            .deployments()
            .iter()
            .map(|deployment| entry(deployment, &[&deployment.spec().models[0].name], ", timeout: 5s"))
            .collect();
        let running = Running::one(&yaml(&entries, &[QUIET])).await;
        let price = |usd: f64, provider: &str| {
            json!({"per_million_tokens_usd": usd, "unit": "characters", "provider": provider,
            "effective_from": "2026-01-01T00:00:00Z", "source": "made up for this test"})
        };
        for (model, prices) in
            [(PINNED, json!([price(1.0, ""), price(0.1, "cheap")])), (OTHER, json!([price(0.01, "")]))]
        {
            let model = json!({
                "id": model, "family": format!("test/{model}"), "native_dimensions": 64, "max_input_tokens": 8191,
                "max_batch": 10, "tokenizer": "cl100k_base", "provider_kinds": ["openai"], "normalized": true, "prices": prices,
            });
            running.admin().post("/api/v1/embedding-models/catalog", model).await.ok();
        }
        Self { _simulator: simulator, running }
    }

    /// An agent whose space is pinned, with this much to spend from now on.
    async fn agent(&self, agent: &str, on_budget_exceeded: &str, cross_space: &str, room: i64) {
        let path = format!("{EMBED}/agents/{agent}");
        let configuration = json!({
            "model_preferences": [{"task_type": "general_qa", "primary_models": [PINNED], "fallback_models": [OTHER]}],
            "fallback_behavior": {"on_budget_exceeded": on_budget_exceeded, "cross_space": cross_space},
        });
        self.running.admin().put(&path, configuration).await.ok();
        in_force().await;
        let pinned = self.ask(agent, &text(agent, 0), None).await;
        assert_eq!(pinned.header("x-embermesh-space"), format!("test/{PINNED}@64"), "{}", pinned.body);
        let spent = nanos(pinned.header("x-embermesh-cost-usd"));
        let limit = json!({"constraints": {"max_cost_per_day": usd(spent + room)}});
        self.running.admin().put(&path, limit).await.ok();
        day_limit_in_force(&self.running, agent, spent + room).await;
    }

    async fn ask(&self, agent: &str, text: &str, model: Option<&str>) -> Answer {
        let mut body = json!({"agent_id": agent, "text": text, "store": false});
        if let Some(model) = model {
            body["model"] = model.into();
        }
        self.running.agent().post(EMBED, body).await
    }

    /// Only one entry of the model may be called now.
    async fn only(&self, name: &str) {
        for entry in ["dear", "cheap"] {
            let order = if entry == name { "reset" } else { "force-open" };
            let body: Value = json!({"deployment": format!("{entry}/{PINNED}")});
            self.running.admin().post(&format!("/api/v1/admin/circuit-breaker/{order}"), body).await.ok();
        }
        in_force().await;
    }
}

fn provider(answer: &Answer) -> &str {
    answer.header("x-embermesh-provider")
}

#[tokio::test]
async fn when_a_budget_does_not_hold_a_call_it_is_refused_or_made_cheaper_under_the_rules_of_spaces() {
    let system = System::start().await;
    // the same space at a cheaper entry: room for one call there, and for none at the dear one
    system.only("dear").await;
    system.agent("thrifty", "cheaper", "never", CHEAP + LEAST).await;
    system.agent("proud", "refuse", "allow", CHEAP + LEAST).await;
    system.agent("rover", "cheaper", "allow", CHEAP + LEAST).await;
    for agent in ["thrifty", "proud", "rover"] {
        // with the cheap entry away there is nothing cheaper in the space
        let answer = system.ask(agent, &text(agent, 1), Some(PINNED)).await;
        answer.refused(402, "budget_exceeded");
    }
    system.running.admin().post("/api/v1/admin/circuit-breaker/reset", json!({})).await.ok();
    in_force().await;
    let answer = system.ask("thrifty", &text("thrifty", 2), None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!((provider(&answer), nanos(answer.header("x-embermesh-cost-usd"))), ("cheap", CHEAP));
    assert_eq!(answer.body["space_id"], format!("test/{PINNED}@64"));
    assert!(answer.body["instead_of_space_id"].is_null(), "{}", answer.body);
    // what is left would do for the other model, but the agent does not leave its space
    system.ask("thrifty", &text("thrifty", 3), None).await.refused(402, "budget_exceeded");

    // one that may leave: first the cheap entry, then the other model, in plain sight
    let answer = system.ask("rover", &text("rover", 2), None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(provider(&answer), "cheap");
    let answer = system.ask("rover", &text("rover", 3), None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!((provider(&answer), nanos(answer.header("x-embermesh-cost-usd"))), ("least", LEAST));
    assert_eq!(answer.body["space_id"], format!("test/{OTHER}@64"));
    assert_eq!(answer.body["instead_of_space_id"], format!("test/{PINNED}@64"), "{}", answer.body);
    // a client that names the model gets that one's space or a refusal
    system.ask("rover", &text("rover", 4), Some(PINNED)).await.refused(402, "budget_exceeded");
    // and when nothing is left for anything, the refusal it is
    system.ask("rover", &text("rover", 5), None).await.refused(402, "budget_exceeded");
}

#[tokio::test]
async fn an_agent_that_wants_refusals_is_not_moved_to_a_cheaper_model() {
    let system = System::start().await;
    system.only("dear").await;
    system.agent("proud", "refuse", "allow", CHEAP + LEAST).await;
    let answer = system.ask("proud", &text("proud", 1), None).await;
    answer.refused(402, "budget_exceeded");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
}
