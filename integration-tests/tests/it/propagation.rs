//! A change of configuration reaches every replica while they work: the operator's update of an agent, on three gateways and two routers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::json;

use crate::{
    client::Client,
    relay::Relay,
    running::Running,
    simulated::{QUIET, SMALL, entry, openai, unstored, yaml},
};

const CHANGES: usize = 200;
const AGENT: &str = "/api/v1/embeddings/agents/prod-agent";
const STRATEGIES: [&str; 3] = ["cost", "quality", "speed"];

/// Shows that it is the question for the epoch that brought it: the subscription is given as long.
const ASKED_FOR: Duration = Duration::from_secs(15);

/// Embeds until it is told to stop; how many were answered and how many failed.
async fn load(client: Client, from: usize, stop: Arc<AtomicBool>, failed: Arc<AtomicUsize>) -> usize {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let text = format!("text {n} of loop {from}");
        let answer = client.post("/api/v1/embeddings", unstored("prod-agent", &text, Some(SMALL))).await;
        if answer.status != 200 {
            println!("{} {}", answer.status, answer.body);
            failed.fetch_add(1, Ordering::Relaxed);
        }
        n += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    n
}

/// Until what a gateway's router explains of the agent is this strategy.
async fn in_force(client: &Client, strategy: &str) -> Duration {
    let begun = Instant::now();
    loop {
        let explained = client.post(&format!("{AGENT}/explain"), json!({})).await.ok();
        if explained["embedding_strategy"] == strategy {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "never in force: {explained}");
    }
}

#[tokio::test]
async fn an_update_of_an_agent_reaches_three_gateways_and_two_routers_under_load() {
    let simulator = openai(&["a-one"]).await;
    let entries = [entry(&simulator.deployments()[0], &[SMALL], "")];
    let mut running = Running::five(&yaml(&entries, &[QUIET])).await;
    let mut urls = vec![running.url.clone(), running.another_gateway().await];
    urls.push(running.another_pair().await);
    let key = running.keys["admin_key"].as_str().unwrap();
    let clients: Vec<Client> = urls.iter().map(|url| Client::new(url, key)).collect();

    let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let loops = clients
        .iter()
        .enumerate()
        .map(|(n, client)| load(client.clone(), n, Arc::clone(&stop), Arc::clone(&failed)));
    let changing = async {
        let mut took = Vec::new();
        for n in 0..CHANGES {
            let strategy = STRATEGIES[n % STRATEGIES.len()];
            let budget = 100.0 + n as f64;
            let update = json!({"embedding_strategy": strategy, "constraints": {"max_cost_per_day": budget}});
            let put = clients[n % clients.len()].put(AGENT, update).await.ok();
            assert_eq!(put["constraints"]["max_cost_per_day"].as_f64(), Some(budget), "{put}");
            let reached = join_all(clients.iter().map(|client| in_force(client, strategy))).await;
            took.extend(reached.into_iter().max());
        }
        stop.store(true, Ordering::Relaxed);
        took
    };
    let (mut took, answered) = tokio::join!(changing, join_all(loops));
    took.sort_unstable();
    let answered: usize = answered.into_iter().sum();
    println!(
        "{CHANGES} changes on all replicas after p50 {:?} p99 {:?} at most {:?}, {answered} requests beside them",
        took[CHANGES / 2],
        took[CHANGES * 99 / 100],
        took[CHANGES - 1]
    );
    assert_eq!(failed.load(Ordering::Relaxed), 0, "requests failed");
    assert!(answered > CHANGES, "{answered}");
    // and the budget is the ledger's too
    let costs = clients[0].get(&format!("{AGENT}/costs")).await.ok();
    assert_eq!(costs["budget"]["limit"].as_f64(), Some(100.0 + (CHANGES - 1) as f64), "{costs}");
}

#[tokio::test]
async fn a_router_whose_connections_to_admin_are_stuck_follows_within_seconds() {
    let simulator = openai(&["a-one"]).await;
    let entries = [entry(&simulator.deployments()[0], &[SMALL], "")];
    let mut running = Running::five(&yaml(&entries, &[QUIET])).await;
    let relay = Relay::to(running.port("admin")).await;
    let url = running.another_pair_with(&[("EMBERMESH__SERVICES__ADMIN", &relay.url())]).await;
    let (admin, behind) = (running.admin(), Client::new(&url, running.keys["admin_key"].as_str().unwrap()));
    let mut took = Vec::new();
    for n in 0..6 {
        let strategy = STRATEGIES[n % STRATEGIES.len()];
        relay.stall();
        let begun = Instant::now();
        admin.put(AGENT, json!({"embedding_strategy": strategy})).await.ok();
        in_force(&behind, strategy).await;
        took.push(begun.elapsed());
    }
    // what stops calls gets there the same way
    let allowed = unstored("prod-agent", "before it is forbidden", Some(SMALL));
    behind.post("/api/v1/embeddings", allowed).await.ok();
    relay.stall();
    let begun = Instant::now();
    admin.put(AGENT, json!({"constraints": {"max_tokens_per_request": 1}})).await.ok();
    loop {
        let body =
            unstored("prod-agent", &format!("more than a token {}", begun.elapsed().as_nanos()), Some(SMALL));
        if behind.post("/api/v1/embeddings", body).await.status != 200 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "never in force");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took.push(begun.elapsed());
    took.sort_unstable();
    println!(
        "a router stuck behind a relay: p50 {:?}, at most {:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(took[took.len() - 1] < ASKED_FOR, "{took:?}");
}
