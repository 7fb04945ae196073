//! Requests at a steady pace that waits for nobody: what is slow piles up, as it would with real clients.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{DIMENSIONS, MODEL, system::Client};

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Outcome {
    /// All of them.
    pub requests: usize,
    /// Those without a vector.
    pub failed: usize,
    /// The first of those.
    pub first_failure: Option<String>,
    /// Of those that were answered, ascending.
    pub latencies: Vec<Duration>,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Outcome {
    /// A percentile of the latencies, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
    }
}

/// A request for the vector of one text.
#[must_use]
pub fn body(agent: &str, text: &str) -> Value {
    json!({"agent_id": agent, "text": text, "model": MODEL, "dimensions": DIMENSIONS, "store": false, "return_vector": false})
}

/// Sends `per_second` requests over the clients in turn for that long, each for a text that nobody asked for before.
pub async fn steady(
    clients: &[Client],
    name: &str,
    agents: usize,
    per_second: u32,
    during: Duration,
) -> Outcome {
    let (started, mut pending) = (Instant::now(), JoinSet::new());
    let mut outcome = Outcome::default();
    let requests = u32::try_from(during.as_millis() * u128::from(per_second) / 1000).unwrap_or(u32::MAX);
    for n in 0..requests {
        let at = started + Duration::from_secs(1) * n / per_second;
        tokio::time::sleep_until(at.into()).await;
        let client = clients[n as usize % clients.len()].clone();
        let body = body(&format!("agent-{}", n as usize % agents), &format!("{name} {n}"));
        pending.spawn(async move {
            let answer = client.post("/api/v1/embeddings", &body).await;
            (at.elapsed(), answer)
        });
        while let Some(Ok(ended)) = pending.try_join_next() {
            outcome.add(ended);
        }
    }
    while let Some(Ok(ended)) = pending.join_next().await {
        outcome.add(ended);
    }
    outcome.took = started.elapsed();
    outcome.latencies.sort_unstable();
    outcome
}

impl Outcome {
    fn add(&mut self, (took, answer): (Duration, Result<(u16, Value), reqwest::Error>)) {
        self.requests += 1;
        let failure = match answer {
            Ok((200, _)) => {
                self.latencies.push(took);
                return;
            }
            Ok((status, body)) => format!("{status} {body}"),
            Err(error) => error.to_string(),
        };
        self.failed += 1;
        self.first_failure.get_or_insert(failure);
    }
}
