//! A key is changed under a load that does not wait for answers: calls leave at their time, however long those before them take.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::{
    client::Client,
    running::{Running, wait_until},
};

const KEYS: &str = "/api/v1/admin/keys";
const MODELS: &str = "/v1/models";
/// 200 calls a second.
const EVERY: Duration = Duration::from_millis(5);
/// How long before the rotation, and after the end of the old key.
const AROUND: Duration = Duration::from_secs(2);
const OVERLAP: Duration = Duration::from_secs(6);

#[expect(clippy::disallowed_methods, reason = "it is the services' own clock that a key ends by")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// What became of a call with the old key, by when it was under way.
#[derive(Debug, Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    at_the_end: usize,
    by_the_new_key: usize,
}

#[tokio::test]
async fn at_200_calls_a_second_no_call_fails_in_the_overlap_and_none_is_accepted_after_it() {
    let mut running = Running::five("").await;
    let urls = [running.url.clone(), running.another_gateway().await];
    let admin = running.admin();
    let made = admin.post(KEYS, json!({"name": "steady"})).await.ok();
    let clients = |key: &str| urls.each_ref().map(|url| Client::new(url, key));
    let old = clients(made["key"].as_str().unwrap());
    for client in &old {
        wait_until(|| async { client.get(MODELS).await.status == 200 }).await;
    }
    let (end, successor): (OnceLock<SystemTime>, OnceLock<[Client; 2]>) = (OnceLock::new(), OnceLock::new());
    let operator = async {
        tokio::time::sleep(AROUND).await;
        let path = format!("{KEYS}/{}/rotate", made["id"].as_str().unwrap());
        let body = json!({"overlap": humantime::format_duration(OVERLAP).to_string()});
        let rotated = admin.post(&path, body).await.ok();
        let at = rotated["predecessor_expires_at"].as_str().unwrap();
        end.set(humantime::parse_rfc3339(at).unwrap()).unwrap();
        let new = clients(rotated["key"].as_str().unwrap());
        // the other gateway hears of it from the control plane
        for client in &new {
            wait_until(|| async { client.get(MODELS).await.status == 200 }).await;
        }
        assert!(successor.set(new).is_ok());
    };
    // every second call goes over to the new key once it is there
    let call = |n: usize| {
        let new = successor.get().filter(|_| n % 4 < 2).map(|new| new[n % 2].clone());
        let (is_new, client) = (new.is_some(), new.unwrap_or_else(|| old[n % 2].clone()));
        async move {
            let sent = now();
            let answer = client.get(MODELS).await;
            (is_new, sent, now(), answer)
        }
    };
    let load = async {
        let (mut flying, mut done, mut n) = (FuturesUnordered::new(), Vec::new(), 0_usize);
        let begun = Instant::now();
        let over = || end.get().is_some_and(|end| now() > *end + AROUND);
        while !over() {
            let next = begun + EVERY * u32::try_from(n).unwrap();
            tokio::select! {
                Some(answered) = flying.next() => done.push(answered),
                () = sleep_until(next) => {
                    flying.push(call(n));
                    n += 1;
                }
            }
        }
        let took = begun.elapsed();
        done.extend(flying.collect::<Vec<_>>().await);
        (done, took)
    };
    let ((calls, took), ()) = tokio::join!(load, operator);
    let end = *end.get().unwrap();
    let mut tally = Tally::default();
    let sent = calls.len();
    for (is_new, sent, answered, answer) in calls {
        if is_new {
            answer.ok();
            tally.by_the_new_key += 1;
        } else if sent >= end {
            answer.refused(401, "unauthenticated");
            tally.refused += 1;
        } else if answered >= end {
            // under way when it ended: either is right
            assert!([200, 401].contains(&answer.status), "{}", answer.body);
            tally.at_the_end += 1;
        } else {
            answer.ok();
            tally.accepted += 1;
        }
    }
    println!(
        "{:.0} calls a second, {tally:?}: 0 failed, 0 accepted after the end",
        sent as f64 / took.as_secs_f64()
    );
    assert!(tally.accepted > 100 && tally.refused > 20 && tally.by_the_new_key > 20, "{tally:?}");
}
