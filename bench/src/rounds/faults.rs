//! Every fault with a healthy peer and without one, under load: right vectors or an error, within the deadline, with few calls more.

use std::{path::Path, time::Duration};

use embermesh_proto::v1::EmbedRequest;
use embermesh_testing::sim::{self, Fault, RetryAfter, Simulator};
use tokio::task::JoinSet;

use super::{
    DIMENSIONS, MODEL, RoundError,
    bar::Bar,
    system::{System, deployments, yaml},
    timed::TimedClient,
};

/// What every request may take.
const DEADLINE: Duration = Duration::from_millis(1500);
/// What an answer may be late.
const GRACE_MS: f64 = 50.0;
/// Requests of a case, and the pause between them.
const REQUESTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);
/// Requests that show which deployment the router likes best.
const WARM_UP: u32 = 20;
/// gRPC's codes: deadline exceeded, resource exhausted, unavailable.
const DOCUMENTED: [i32; 3] = [4, 8, 14];

fn faults() -> Vec<(&'static str, Fault)> {
    vec![
        ("401", Fault::status(401)),
        ("404", Fault::status(404)),
        ("408", Fault::status(408)),
        ("429", Fault::status(429)),
        ("429 with Retry-After", Fault::status(429).retry_after(RetryAfter::Seconds(5))),
        ("429 with a date", Fault::status(429).retry_after(RetryAfter::Date(5))),
        ("quota used up", Fault::QuotaUsedUp),
        ("500", Fault::status(500)),
        ("502", Fault::status(502)),
        ("503 with Retry-After", Fault::status(503).retry_after(RetryAfter::Seconds(5))),
        ("504", Fault::status(504)),
        ("hang", Fault::Hang),
        ("slow trickle", Fault::Trickle { bytes: 16, every_ms: 100 }),
        ("reset before reading", Fault::ResetBeforeRead),
        ("reset after reading", Fault::ResetAfterRead),
        ("truncated JSON", Fault::TruncatedJson),
        ("200 with an error", Fault::ErrorWithStatus200),
        ("wrong count", Fault::WrongCount),
        ("wrong index", Fault::WrongIndex),
        ("wrong dimensions", Fault::WrongDims),
        ("NaN", Fault::NotANumber),
        ("zero vector", Fault::ZeroVector),
    ]
}

/// What became of the requests of some cases.
#[derive(Debug, Default)]
struct Outcome {
    /// Calls that were made for them, by the texts in them.
    sent: usize,
    /// Cases whose fault struck nobody.
    idle: usize,
    requests: usize,
    failed: usize,
    first_failure: Option<String>,
    /// Successes with the vector of something else.
    wrong: usize,
    /// Errors that are not among the documented ones.
    undocumented: usize,
    first_undocumented: Option<String>,
    late_ms: f64,
}

/// All faults, both ways.
///
/// # Errors
/// When a system does not start.
pub async fn run(bin: &Path) -> Result<Vec<Bar>, RoundError> {
    let mut bars = with_peer(bin).await?;
    bars.extend(alone(bin).await?);
    Ok(bars)
}

async fn with_peer(bin: &Path) -> Result<Vec<Bar>, RoundError> {
    let round = "each fault, healthy peer";
    let simulator = deployments(&["a-one", "b-two"]).await?;
    // a call that hangs must leave time for another one
    let system = System::one(bin, &yaml(simulator.deployments(), ", timeout: 500ms", "", "")).await?;
    let outcome = every_fault(&simulator, &system).await?;
    let failed = Bar::none(round, "failed requests", outcome.failed, outcome.first_failure.as_deref());
    Ok([failed].into_iter().chain(outcome.bars(round)).collect())
}

async fn alone(bin: &Path) -> Result<Vec<Bar>, RoundError> {
    let round = "each fault, no peer";
    let simulator = deployments(&["a-one"]).await?;
    let system = System::one(bin, &yaml(simulator.deployments(), ", timeout: 5s", "", "")).await?;
    let outcome = every_fault(&simulator, &system).await?;
    let (count, first) = (outcome.undocumented, outcome.first_undocumented.as_deref());
    let undocumented = Bar::none(round, "errors that are not documented", count, first);
    Ok([undocumented].into_iter().chain(outcome.bars(round)).collect())
}

impl Outcome {
    fn bars(&self, round: &str) -> [Bar; 5] {
        [
            Bar::none(round, "bad vectors served, later ones included", self.wrong, None),
            Bar::at_most(round, "latest answer after its deadline", self.late_ms.max(0.0), GRACE_MS, "ms"),
            Bar::at_most(
                round,
                "texts sent per text asked for",
                self.sent as f64 / self.requests as f64,
                1.2,
                "",
            ),
            Bar::none(round, "faults that struck nobody", self.idle, None),
            Bar::told(round, "requests / failed", format!("{} / {}", self.requests, self.failed)),
        ]
    }
}

/// The outcome of all cases together. Each strikes the deployment that the router likes best at the time.
async fn every_fault(simulator: &Simulator, system: &System) -> Result<Outcome, RoundError> {
    let client = TimedClient::new(&system.urls[0], system.agents[0].key())?;
    let mut whole = Outcome::default();
    for (name, fault) in faults() {
        simulator.clear_calls();
        let mut before = Outcome::default();
        ask(&client, &format!("before {name}"), WARM_UP, &mut before).await;
        let calls = simulator.calls();
        let of = |name: &str| calls.iter().filter(|call| call.deployment == name).count();
        let struck = simulator.deployments().iter().max_by_key(|deployment| of(deployment.name()));
        let struck = struck.ok_or("there is no deployment")?;
        simulator.clear_calls();
        struck.inject([fault.forever()]);
        let (failed, sent) = (whole.failed, whole.sent);
        ask(&client, name, REQUESTS, &mut whole).await;
        let calls = simulator.calls();
        whole.sent += calls.iter().map(|call| call.texts.len().max(1)).sum::<usize>();
        whole.idle += usize::from(calls.iter().all(|call| call.fault.is_none()));
        eprintln!(
            "bench-rounds: {name}: {} of {REQUESTS} failed, {} texts sent, the latest answer so far {:.0} ms after its deadline",
            whole.failed - failed,
            whole.sent - sent,
            whole.late_ms
        );
        struck.heal();
        system.reset().await?;
        // the same texts once more: whatever is cached now must be right
        let mut again = Outcome::default();
        ask(&client, name, REQUESTS, &mut again).await;
        whole.wrong += before.wrong + again.wrong;
        if let Some(failure) = before.first_failure.or(again.first_failure) {
            return Err(format!("without {name}: {failure}").into());
        }
    }
    Ok(whole)
}

/// Asks for so many texts of this name.
async fn ask(client: &TimedClient, name: &str, requests: u32, outcome: &mut Outcome) {
    let mut pending = JoinSet::new();
    for n in 0..requests {
        let (client, text) = (client.clone(), format!("{name} {n}"));
        pending.spawn(async move {
            let body = EmbedRequest {
                agent_id: format!("agent-{}", n % 10),
                text: text.clone(),
                model: Some(MODEL.to_owned()),
                dimensions: u32::try_from(DIMENSIONS).ok(),
                store: Some(false),
                ..EmbedRequest::default()
            };
            (text, client.embed(&body, DEADLINE).await)
        });
        tokio::time::sleep(PAUSE).await;
    }
    while let Some(Ok((text, answer))) = pending.join_next().await {
        outcome.requests += 1;
        let result = match answer {
            Ok(answer) => {
                let late = answer.took.as_secs_f64() - DEADLINE.as_secs_f64();
                outcome.late_ms = outcome.late_ms.max(late * 1000.0);
                answer.result
            }
            Err(error) => Err((-1, error.to_string())),
        };
        match result {
            Ok(answer) => {
                let expected = sim::vector(MODEL, &text, DIMENSIONS);
                let cosine: f32 = expected.iter().zip(&answer.embedding).map(|(a, b)| a * b).sum();
                outcome.wrong +=
                    usize::from(answer.embedding.len() != DIMENSIONS || (cosine - 1.0).abs() > 1e-3);
            }
            Err((code, message)) => {
                let failure = format!("{name}: code {code}, {message}");
                outcome.failed += 1;
                if !DOCUMENTED.contains(&code) {
                    outcome.undocumented += 1;
                    outcome.first_undocumented.get_or_insert(failure.clone());
                }
                outcome.first_failure.get_or_insert(failure);
            }
        }
    }
}
