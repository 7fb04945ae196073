//! Two tenants at random: whatever one asks, nothing that comes back is the other's.

use std::{collections::HashSet, sync::Mutex};

use embermesh_testing::sim::Simulator;
use futures::{StreamExt, stream};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    running::Running,
    simulated::{QUIET, SMALL, system},
    tenants::{AGENTS, Tenant},
};

const OPERATIONS: usize = 10_000;
const TOGETHER: usize = 16;
const EMBED: &str = "/api/v1/embeddings";
/// Asked for by both.
const TEXTS: usize = 40;
const TEAMS: [&str; 2] = ["amber", "cobalt"];

/// What each tenant was told that it has; ids are never the same in both.
#[derive(Default)]
struct Told([Mutex<HashSet<String>>; 2]);

impl Told {
    fn note(&self, tenant: usize, id: &Value) {
        if let Some(id) = id.as_str() {
            self.0[tenant].lock().unwrap().insert(id.to_owned());
        }
    }

    fn pick(&self, tenant: usize, at: usize) -> Option<String> {
        let ids = self.0[tenant].lock().unwrap();
        ids.iter().nth(at % ids.len().max(1)).cloned()
    }

    /// Every id in an answer, wherever it stands.
    fn ids(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value) {
                        ("embedding_id", Value::String(id)) => found.push(id.clone()),
                        _ => Self::ids(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| Self::ids(value, found)),
            _ => {}
        }
    }
}

/// One operation of one tenant, whose answer is searched for what is the other's.
async fn operate(tenants: &[Tenant; 2], told: &Told, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let own = rng.random_range(0..2_usize);
    let (tenant, other) = (&tenants[own], 1 - own);
    let (team, text) = (TEAMS[own], format!("words {}", rng.random_range(0..TEXTS)));
    let agent = format!("agent-{}", rng.random_range(0..4));
    let stored = json!({"agent_id": agent, "text": text, "metadata": {"team": team}, "return_vector": false});
    let answer = match rng.random_range(0..100) {
        0..35 => tenant.agent.post(EMBED, stored).await,
        35..45 => {
            let batch = json!([stored, {"agent_id": agent, "text": "words 1", "metadata": {"team": team}}]);
            tenant.agent.post("/api/v1/embeddings/batch", batch).await
        }
        45..65 => {
            let query = json!({"query": text, "limit": 50, "exact": rng.random_bool(0.5)});
            let path = if rng.random_bool(0.3) { "search/cross-model" } else { "search" };
            tenant.agent.post(&format!("{EMBED}/{path}"), query).await
        }
        65..72 => tenant.agent.get(&format!("{EMBED}?page_size=20")).await,
        // by the id of a row of either
        72..80 => {
            let whose = rng.random_range(0..2_usize);
            let Some(id) = told.pick(whose, rng.random_range(0..1000)) else { return };
            let answer = tenant.agent.get(&format!("{EMBED}/{id}")).await;
            assert!(whose == own || answer.status == 404, "{seed}: {} {}", answer.status, answer.body);
            answer
        }
        80..83 => {
            let Some(id) = told.pick(other, rng.random_range(0..1000)) else { return };
            let answer = tenant.agent.delete(&format!("{EMBED}/{id}")).await;
            assert_eq!(answer.status, 404, "{seed}: {}", answer.body);
            answer
        }
        83..90 => {
            let configuration = json!({"metadata": {"team": team, "n": seed}, "embedding_strategy": "speed"});
            tenant.admin.put(&format!("{AGENTS}/{agent}"), configuration).await
        }
        90..94 => tenant.admin.get(AGENTS).await,
        94..96 => tenant.admin.get("/api/v1/admin/keys").await,
        96..98 => tenant.admin.get("/api/v1/metrics/costs/by-agent").await,
        _ => tenant.admin.get("/api/v1/reports/costs?group_by=key").await,
    };
    assert!(answer.status < 500, "{seed}: {} {}", answer.status, answer.body);
    let said = answer.body.to_string();
    assert!(!said.contains(TEAMS[other]) && !said.contains(&tenants[other].id), "{seed}: {said}");
    let mut ids = Vec::new();
    Told::ids(&answer.body, &mut ids);
    for id in ids {
        assert!(!told.0[other].lock().unwrap().contains(&id), "{seed}: a row of the other: {said}");
        told.note(own, &Value::String(id));
    }
}

#[tokio::test]
async fn ten_thousand_operations_of_two_tenants_never_meet() {
    let seed = std::env::var("EMBERMESH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    println!("EMBERMESH_SEED={seed}");
    let (_simulator, running): (Simulator, Running) = system(&["a-one"], &[SMALL], &[QUIET]).await;
    let tenants = [Tenant::first(&running), Tenant::second(&running).await];
    let told = Told::default();
    let operations =
        (0..OPERATIONS as u64).map(|n| operate(&tenants, &told, seed.wrapping_mul(1_000_003) + n));
    stream::iter(operations).buffer_unordered(TOGETHER).collect::<Vec<()>>().await;
    let [one, two] = told.0.map(|ids| ids.into_inner().unwrap());
    println!("{} and {} rows were told of", one.len(), two.len());
    assert!(one.len() >= TEXTS && two.len() >= TEXTS && one.is_disjoint(&two));
}
