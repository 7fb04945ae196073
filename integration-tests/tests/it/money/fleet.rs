//! Routers on a provider whose calls all cost the same, known before they are made: so a budget for `k` calls is one for exactly `k`.

use embermesh_testing::sim::{DeploymentSpec, ModelSpec, Simulator};
use futures::{StreamExt as _, future::join_all, stream};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    money::{nanos, usd},
    running::{Running, wait_until},
    simulated::{QUIET, SMALL, entry, yaml},
};

/// Charged by the character, of which every text has equally many: what is set aside for a call is what it costs.
pub const EVEN: &str = "charged-by-character";
/// Characters of each text.
const CHARACTERS: usize = 40;
/// A name that the entry serves too, for a model that the catalog does not know yet.
pub const UNKNOWN: &str = "not-in-the-catalog-yet";
/// What a text of [`EVEN`] costs, in nano-USD: 1,000 a character.
pub const COST: i64 = 40_000;
/// The one provider entry.
pub const PROVIDER: &str = "a-one";
/// Who asks whether everything is there.
pub const FIRST: &str = "first";
/// Most texts of one call.
const AT_ONCE: u32 = 100;

/// The system, its provider, and a client of each router.
pub struct Fleet {
    pub simulator: Simulator,
    pub running: Running,
    pub clients: Vec<Client>,
}

impl Fleet {
    /// One process.
    pub async fn one() -> Self {
        let simulator = simulator().await;
        let running = Running::one(&configuration(&simulator)).await;
        Self::with(simulator, running, Vec::new()).await
    }

    /// Each service its own process, with so many routers, each behind a gateway of its own.
    pub async fn of(routers: usize) -> Self {
        let simulator = simulator().await;
        let mut running = Running::five(&configuration(&simulator)).await;
        let more = running.more_pairs(routers - 1).await;
        Self::with(simulator, running, more).await
    }

    async fn with(simulator: Simulator, running: Running, more: Vec<String>) -> Self {
        let key = running.keys["agent_key"].as_str().unwrap();
        let urls = std::iter::once(&running.url).chain(&more);
        let clients: Vec<Client> = urls.map(|url| Client::new(url, key)).collect();
        let model = json!({
            "id": EVEN, "family": "test/even", "native_dimensions": 64, "max_input_tokens": 8191, "max_batch": AT_ONCE,
            "tokenizer": "cl100k_base", "provider_kinds": ["openai"], "normalized": true,
            "prices": [{"per_million_tokens_usd": 1.0, "unit": "characters", "effective_from": "2026-01-01T00:00:00Z", "source": "made up for this test"}],
        });
        running.admin().post("/api/v1/embedding-models/catalog", model).await.ok();
        let fleet = Self { simulator, running, clients };
        fleet.until_answering().await;
        fleet
    }

    /// Waits until every gateway reaches its router and everything behind it; the calls for it are those of the agent [`FIRST`].
    pub async fn until_answering(&self) {
        for (n, client) in self.clients.iter().enumerate() {
            let body = || one(FIRST, &text("known", n));
            wait_until(|| async { client.post(EMBED, body()).await.status == 200 }).await;
        }
    }

    /// Sends `count` texts that nobody knows as `agent`, in turn over every gateway and `at_once` at a time over each.
    pub async fn burst(&self, agent: &str, name: &str, count: usize, at_once: usize) -> Vec<Answer> {
        let gateways = self.clients.len();
        let of_gateway = |gateway: usize| {
            let client = &self.clients[gateway];
            let sent = (gateway..count)
                .step_by(gateways)
                .map(move |n| client.post(EMBED, one(agent, &text(name, n))));
            stream::iter(sent).buffer_unordered(at_once).collect::<Vec<_>>()
        };
        join_all((0..gateways).map(of_gateway)).await.into_iter().flatten().collect()
    }

    /// The same, counted.
    pub async fn tally(&self, agent: &str, name: &str, count: usize, at_once: usize) -> Tally {
        let answers = self.burst(agent, name, count, at_once).await;
        if answers.iter().any(|answer| !matches!(answer.status, 200 | 402)) {
            let logs = self.running.logs();
            let told = logs.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
            told.for_each(|line| println!("{line}"));
        }
        Tally::of(&answers)
    }

    /// Limits what an agent may spend in a day, and waits until that holds.
    pub async fn limit(&self, agent: &str, limit: i64) {
        let path = format!("/api/v1/embeddings/agents/{agent}");
        let constraints = json!({"constraints": {"max_cost_per_day": usd(limit)}});
        self.running.admin().put(&path, constraints).await.ok();
        day_limit_in_force(&self.running, agent, limit).await;
    }

    /// Texts that the provider has been paid for.
    pub fn texts_sent(&self) -> usize {
        let calls = self.simulator.calls();
        calls.iter().filter(|call| call.status == Some(200)).map(|call| call.texts.len()).sum()
    }

    /// What the tenant, its only key and its only provider have spent, whatever the books have heard of it.
    pub fn spent(&self) -> i64 {
        self.texts_sent() as i64 * COST
    }
}

pub const EMBED: &str = "/api/v1/embeddings";

async fn simulator() -> Simulator {
    let mut models = ModelSpec::openai();
    models.push(ModelSpec::new(EVEN, 64, false));
    let spec = DeploymentSpec { models, api_key: Some("sk-test".into()), ..DeploymentSpec::named(PROVIDER) };
    Simulator::start(&[spec]).await.unwrap()
}

fn configuration(simulator: &Simulator) -> String {
    let entry = entry(&simulator.deployments()[0], &[EVEN, SMALL, UNKNOWN], ", timeout: 20s");
    yaml(&[entry], &[QUIET])
}

/// A text that occurs once.
pub fn text(name: &str, n: usize) -> String {
    let text = format!("{:x<CHARACTERS$}", format!("{name} {n} "));
    assert_eq!(text.len(), CHARACTERS, "{text}");
    text
}

/// A request for one text that stores nothing.
pub fn one(agent: &str, text: &str) -> Value {
    json!({"agent_id": agent, "text": text, "model": EVEN, "store": false})
}

/// Waits until the ledger holds an agent to this limit of a day.
pub async fn day_limit_in_force(running: &Running, agent: &str, limit: i64) {
    let (admin, path) = (running.admin(), format!("/api/v1/embeddings/agents/{agent}/costs"));
    wait_until(|| async {
        let known = &admin.get(&path).await.ok()["budget"]["limit"];
        known.is_number() && nanos(&known.to_string()) == limit
    })
    .await;
}

/// What became of requests. Anything but an answer or the refusal for money fails the test.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub admitted: usize,
    pub refused: usize,
    /// What the answers say they cost.
    pub paid: i64,
}

impl Tally {
    pub fn of(answers: &[Answer]) -> Self {
        let mut tally = Self::default();
        for answer in answers {
            if answer.status == 200 {
                tally.admitted += 1;
                tally.paid += nanos(answer.header("x-embermesh-cost-usd"));
            } else {
                answer.refused(402, "budget_exceeded");
                tally.refused += 1;
            }
        }
        tally
    }

    /// So many got an answer, each at its price, and all others the refusal.
    #[track_caller]
    pub fn exactly(&self, admitted: usize, of: usize) {
        let expected = Self { admitted, refused: of - admitted, paid: admitted as i64 * COST };
        assert_eq!(*self, expected);
    }
}
