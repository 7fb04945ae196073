//! A migration of many rows between two simulated models, whose gateway and store are killed again and again: no text is embedded twice,
//! no row is missing, no search fails, the estimate holds, and a roll-back leaves everything as it was.

mod system;

use std::{
    collections::HashMap,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use embermesh_testing::sim::{DeploymentSpec, Latency, Simulator};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use self::system::{System, Way};
use crate::{faults::FaultError, rounds::bar::Bar};

const SMALL: &str = "text-embedding-3-small";
const LARGE: &str = "text-embedding-3-large";
const NEW_SPACE: &str = "openai/text-embedding-3-large@1024";
const AGENT: &str = "docs";
/// How long a call of the new provider takes.
const PROVIDER: Latency = Latency::LogNormal { p50_ms: 80.0, p99_ms: 400.0 };
/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Migrates `rows` rows there and back while processes are killed `kills` times.
///
/// # Errors
/// When the system does not start or come back, or a call is refused.
pub async fn run(bin: &Path, rows: usize, kills: u32, seed: u64) -> Result<Vec<Bar>, FaultError> {
    let spec = |name: &&str| DeploymentSpec { record_bodies: false, ..DeploymentSpec::named(name) };
    let simulator = Simulator::start(&["a-small", "b-large"].iter().map(spec).collect::<Vec<_>>()).await?;
    let folder = tempfile::TempDir::new()?;
    let mut system = System::start(bin, folder.path(), simulator.deployments(), (SMALL, LARGE)).await?;
    let way = system.way();
    let prefers = json!({"model_preferences": [{"task_type": "general_qa", "primary_models": [SMALL]}]});
    way.put(&format!("/api/v1/embeddings/agents/{AGENT}"), &prefers).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    store(&way, rows).await?;
    let before = asked(&way).await?;
    let what = json!({
        "to_model": LARGE, "to_dimensions": 1024, "agent_id": AGENT, "min_overlap": 0,
        "requests_per_minute": 1_000_000, "tokens_per_minute": 1_000_000_000,
    });
    let mut estimate = what.clone();
    estimate.as_object_mut().ok_or("an object")?.remove("min_overlap");
    let estimate = way.post("/api/v1/migrations/estimate", &estimate).await?;
    eprintln!("bench-migration: {rows} rows are stored, {estimate}");
    simulator.deployments()[1].set_latency(Some(PROVIDER));
    simulator.clear_calls();

    let (over, searches, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let searching = async {
        while !over.load(Ordering::Relaxed) {
            searches.fetch_add(1, Ordering::Relaxed);
            let whole = |answer: &Value| answer["count"] == 10;
            if !search(&way, "a question that nobody stored", 10).await.is_ok_and(|answer| whole(&answer)) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, FaultError>(())
    };
    let migrating = async {
        let outcome = migrate(&mut system, &way, &what, kills, seed).await;
        over.store(true, Ordering::Relaxed);
        outcome
    };
    let (ready, ()) = tokio::try_join!(migrating, searching)?;
    let after = asked(&way).await?;

    let mut sent: HashMap<String, usize> = HashMap::new();
    for call in simulator.calls().iter().filter(|call| call.deployment == "b-large") {
        for text in &call.texts {
            *sent.entry(text.clone()).or_default() += 1;
        }
    }
    let texts: Vec<String> = (0..rows).map(text).collect();
    let times = |text: &String| sent.get(text).copied().unwrap_or_default();
    let twice: Vec<&String> = texts.iter().filter(|text| times(text) > 1).collect();
    let never: Vec<&String> = texts.iter().filter(|text| times(text) == 0).collect();
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    let done = usize::try_from(ready["rows_done"].as_u64().unwrap_or_default())?;
    let usd = |value: &Value| value.as_f64().unwrap_or_default();
    let (cost, guess) = (usd(&ready["cost_usd"]), usd(&estimate["cost_usd"]));
    let name = format!("{rows} rows, {kills} times kill -9");
    let first = |texts: &[&String]| texts.first().map(|text| (*text).clone());
    Ok(vec![
        Bar::none(&name, "texts embedded twice", twice.len(), first(&twice).as_deref()),
        Bar::none(&name, "texts never embedded", never.len(), first(&never).as_deref()),
        Bar::none(&name, "rows missing in the new space when ready", rows - done.min(rows), None),
        Bar::none(
            &name,
            "searches that failed, from the start to the end of the roll-back",
            usize::try_from(failed.into_inner())?,
            None,
        ),
        Bar::at_most(
            &name,
            "estimate beside the cost, off by",
            100.0 * (guess - cost).abs() / cost,
            10.0,
            "%",
        ),
        Bar::none(&name, "searches with another result after the roll-back", changed, None),
        Bar::none(
            &name,
            "rows left in the new space after the roll-back",
            usize::try_from(system.rows_in(NEW_SPACE).await?)?,
            None,
        ),
        Bar::told(&name, "searches", searches.into_inner().to_string()),
        Bar::told(
            &name,
            "estimated / paid, USD",
            format!("{} / {}", estimate["cost_usd"], ready["cost_usd"]),
        ),
        Bar::told(&name, "from start to ready", ready["took"].as_str().unwrap_or_default().to_owned()),
    ])
}

/// There and back; how the migration stood when it was ready.
async fn migrate(
    system: &mut System,
    way: &Way,
    what: &Value,
    kills: u32,
    seed: u64,
) -> Result<Value, FaultError> {
    let mut dice = StdRng::seed_from_u64(seed);
    let begun = Instant::now();
    let started = way.post("/api/v1/migrations", what).await?;
    let path = format!("/api/v1/migrations/{}", started["migration_id"].as_str().unwrap_or_default());
    // the last two meet the cut-over and the roll-back
    let meanwhile = kills.saturating_sub(2);
    let mut in_the_middle = 0;
    for kill in 0..meanwhile {
        tokio::time::sleep(Duration::from_millis(dice.random_range(100..3_000))).await;
        in_the_middle += u32::from(way.get(&path).await?["state"] == "running");
        let victim = if dice.random_range(0..2) == 0 { "gateway" } else { "vector-store" };
        system.kill(victim, Duration::from_millis(dice.random_range(0..500))).await?;
        eprintln!("bench-migration: {} of {kills} kills", kill + 1);
    }
    eprintln!("bench-migration: {in_the_middle} kills met the copying");
    let mut ready = until(way, &path, "ready").await?;
    ready["took"] = format!("{:.0} s, of which {in_the_middle} kills", begun.elapsed().as_secs_f64()).into();
    way.post(&format!("{path}/cut-over"), &json!({"force": true})).await?;
    system.kill("gateway", Duration::ZERO).await?;
    until(way, &path, "cut_over").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    way.post(&format!("{path}/roll-back"), &json!({})).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    system.kill("vector-store", Duration::ZERO).await?;
    until(way, &path, "rolled_back").await?;
    Ok(ready)
}

async fn until(way: &Way, path: &str, state: &str) -> Result<Value, FaultError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let now = way.get(path).await?;
        if now["state"] == state {
            return Ok(now);
        }
        if now["state"] == "paused" || Instant::now() > until {
            return Err(format!("the migration did not become {state}: {now}").into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn text(n: usize) -> String {
    format!("row number {n} of the corpus: what is said here about subject {} is said nowhere else", n % 97)
}

async fn store(way: &Way, rows: usize) -> Result<(), FaultError> {
    let all: Vec<usize> = (0..rows).collect();
    for some in all.chunks(500) {
        let batch: Value = some
            .iter()
            .map(|n| json!({"agent_id": AGENT, "text": text(*n), "metadata": {"n": n}, "return_vector": false}))
            .collect();
        let answer = way.post("/api/v1/embeddings/batch", &batch).await?;
        if answer["failed"] != 0 {
            return Err(format!("rows were not stored: {answer}").into());
        }
    }
    Ok(())
}

async fn search(way: &Way, query: &str, limit: u32) -> Result<Value, FaultError> {
    // exactly: with so many rows the old space earns an index meanwhile, which finds nearly what was found before
    let body = json!({"agent_id": AGENT, "query": query, "limit": limit, "exact": true});
    way.post("/api/v1/embeddings/search", &body).await
}

/// What some searches find.
async fn asked(way: &Way) -> Result<Vec<Value>, FaultError> {
    let mut all = Vec::new();
    for n in 0..20 {
        all.push(search(way, &text(n * 7), 20).await?["results"].clone());
    }
    Ok(all)
}
