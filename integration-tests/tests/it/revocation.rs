//! A key that is revoked is refused by every gateway: at once where the control plane pushes, and within seconds where its stream is
//! broken without anybody being told.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use crate::{
    client::Client,
    relay::Relay,
    running::{Running, wait_until},
};

const KEYS: &str = "/api/v1/admin/keys";
const MODELS: &str = "/v1/models";
/// Shows that it is the push or the question for the epoch that brought it: a machine under full load is slow, and a connection that
/// is stuck is noticed by itself after 15 s.
const PUSHED: Duration = Duration::from_secs(10);
const ASKED_FOR: Duration = Duration::from_secs(15);

/// A new key that `urls` accept, and a client with it at each.
async fn key(admin: &Client, urls: &[String]) -> (String, Vec<Client>) {
    let made = admin.post(KEYS, json!({"name": "to be revoked"})).await.ok();
    let secret = made["key"].as_str().unwrap();
    let clients: Vec<Client> = urls.iter().map(|url| Client::new(url, secret)).collect();
    for client in &clients {
        wait_until(|| async { client.get(MODELS).await.status == 200 }).await;
    }
    (made["id"].as_str().unwrap().to_owned(), clients)
}

/// How long `client` is let in.
async fn until_refused(client: &Client, since: Instant) -> Duration {
    loop {
        let answer = client.get(MODELS).await;
        if answer.status != 200 {
            answer.refused(401, "unauthenticated");
            return since.elapsed();
        }
        assert!(since.elapsed() < Duration::from_secs(60), "a revoked key is still accepted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Prints the middle and the worst, and returns the worst.
fn show(what: &str, mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    let (middle, worst) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{what}: {} revocations, p50 {middle:?}, at most {worst:?}", took.len());
    worst
}

#[tokio::test]
async fn three_gateways_refuse_a_revoked_key() {
    let mut running = Running::five("").await;
    let urls = [running.url.clone(), running.another_gateway().await, running.another_gateway().await];
    let admin = running.admin();
    let mut took = Vec::new();
    for _ in 0..20 {
        let (id, clients) = key(&admin, &urls).await;
        // from before the request is sent to the last of the three
        let since = Instant::now();
        let revoke = async { admin.post(&format!("{KEYS}/{id}/revoke"), json!({})).await.ok() };
        let refused = join_all(clients.iter().map(|client| until_refused(client, since)));
        let (_, refused) = tokio::join!(revoke, refused);
        took.extend(refused.into_iter().max());
    }
    assert!(show("three gateways", took) < PUSHED);
}

#[tokio::test]
async fn a_gateway_whose_connections_are_stuck_refuses_a_revoked_key() {
    let (running, relay, url) = behind_a_relay().await;
    let admin = running.admin();
    let mut took = Vec::new();
    for _ in 0..5 {
        let (id, clients) = key(&admin, std::slice::from_ref(&url)).await;
        relay.stall();
        let since = Instant::now();
        admin.post(&format!("{KEYS}/{id}/revoke"), json!({})).await.ok();
        took.push(until_refused(&clients[0], since).await);
    }
    assert!(show("every connection to admin stuck", took) < ASKED_FOR);
}

#[tokio::test]
async fn a_gateway_that_was_cut_off_refuses_a_revoked_key_once_it_is_back_and_serves_until_then() {
    let (running, relay, url) = behind_a_relay().await;
    let (admin, agent) = (running.admin(), Client::new(&url, running.keys["agent_key"].as_str().unwrap()));
    let mut took = Vec::new();
    for _ in 0..5 {
        let (id, clients) = key(&admin, std::slice::from_ref(&url)).await;
        relay.refuse();
        admin.post(&format!("{KEYS}/{id}/revoke"), json!({})).await.ok();
        // what is known goes on, the key with it: nobody can tell this gateway
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            agent.get(MODELS).await.ok();
            clients[0].get(MODELS).await.ok();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let since = Instant::now();
        relay.heal();
        took.push(until_refused(&clients[0], since).await);
    }
    assert!(show("cut off for 3 s, from when admin can be reached", took) < ASKED_FOR);
}

#[tokio::test]
async fn health_and_metrics_tell_how_fresh_the_configuration_is() {
    let (running, relay, url) = behind_a_relay().await;
    let nobody = Client::new(&url, "none");
    let configuration = async || nobody.get("/health/ready").await.ok()["configuration"]["gateway"].clone();
    let fresh = configuration().await;
    assert_eq!((&fresh["source"], &fresh["live"]), (&json!("admin"), &json!(true)), "{fresh}");
    // a change shows
    running.admin().post(KEYS, json!({"name": "new"})).await.ok();
    let before = fresh["version"].as_i64().unwrap();
    wait_until(|| async { configuration().await["version"].as_i64().unwrap() > before }).await;

    relay.refuse();
    wait_until(|| async { configuration().await["live"] == json!(false) }).await;
    let stale = configuration().await;
    assert!(stale["admin_silent_seconds"].as_f64().unwrap() > 1.0, "{stale}");
    let metric = async |name: &str| {
        let metrics = nobody.get("/metrics").await.body;
        let line = format!("{name}{{subscriber=\"gateway\"}} ");
        let found = metrics.as_str().unwrap().lines().find_map(|metric| metric.strip_prefix(&line));
        found.unwrap_or_else(|| panic!("no {line}")).parse::<f64>().unwrap()
    };
    wait_until(|| async { metric("config_admin_silence_seconds").await > 1.0 }).await;
    assert_eq!(metric("config_version").await, stale["version"].as_f64().unwrap());
    relay.heal();
    wait_until(|| async { configuration().await["live"] == json!(true) }).await;
}

/// Five processes, and one more gateway whose way to admin leads through a relay; its URL.
async fn behind_a_relay() -> (Running, Relay, String) {
    let mut running = Running::five("").await;
    let relay = Relay::to(running.port("admin")).await;
    let url = running.another_gateway_with(&[("EMBERMESH__SERVICES__ADMIN", &relay.url())]).await;
    (running, relay, url)
}
