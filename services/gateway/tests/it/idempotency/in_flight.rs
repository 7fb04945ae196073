use std::collections::HashMap;

use futures::future::join_all;
use serde_json::json;

use super::world::{BATCH, EMBED, LONG_AFTER, OPENAI, World, send};

#[tokio::test]
async fn while_the_first_is_under_way_others_are_told_to_come_again_and_do_not_wait() {
    let world = World::new().await;
    for (at, (path, body)) in [
        (EMBED, json!({"text": "wait", "store": false})),
        (BATCH, json!([{"text": "wait"}, {"text": "b"}])),
        (OPENAI, json!({"input": ["wait"], "model": "m"})),
    ]
    .iter()
    .enumerate()
    {
        let key = format!("k{at}");
        let before = world.provider.texts().len();
        let first = world.spawn(path, &key, body);
        world.provider.asked(before + 1).await;
        let second = world.send(path, &key, body).await.refused(409, "conflict");
        assert_eq!(second.retry_after.as_deref(), Some("1"), "{path}");
        world.provider.open();
        let first = first.await.unwrap().unwrap().ok();
        assert_eq!(world.send(path, &key, body).await, first);
    }
    assert_eq!(world.provider.texts(), ["wait", "wait", "b", "wait"]);
}

#[tokio::test]
async fn of_a_hundred_at_once_one_is_embedded_and_nobody_gets_anything_else() {
    let world = World::new().await;
    let body = json!({"text": "wait"});
    let calls = join_all((0..100).map(|_| send(world.app(), world.request(0, EMBED, "k", &body))));
    let open = async {
        world.provider.asked(1).await;
        world.provider.open();
    };
    let (got, ()) = tokio::join!(calls, open);
    let mut by_status: HashMap<u16, Vec<_>> = HashMap::new();
    for one in got {
        by_status.entry(one.status.as_u16()).or_default().push(one);
    }
    let answers = &by_status[&200];
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    let told = by_status.get(&409).map_or(0, |refused| {
        assert!(refused.iter().all(|one| one.retry_after.is_some()));
        refused.len()
    });
    assert_eq!(answers.len() + told, 100, "{by_status:?}");
    assert_eq!(world.provider.texts().len(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_finds_the_answer_when_it_comes_back() {
    let world = World::new().await;
    for (at, (path, body)) in [
        (EMBED, json!({"text": "wait", "store": false})),
        (BATCH, json!([{"text": "wait", "store": false}])),
        (OPENAI, json!({"input": "wait", "model": "m"})),
    ]
    .iter()
    .enumerate()
    {
        let key = format!("k{at}");
        let first = world.spawn(path, &key, body);
        world.provider.asked(at + 1).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        world.provider.open();
        let answer = loop {
            let got = world.send(path, &key, body).await;
            if got.status != 409 {
                break got.ok();
            }
        };
        assert_eq!(world.send(path, &key, body).await, answer);
    }
    assert_eq!(world.provider.texts().len(), 3, "each was paid for once");
}

#[tokio::test]
async fn the_key_of_a_gateway_that_died_is_free_when_its_time_is_up() {
    let mut world = World::new().await;
    let body = json!({"text": "wait", "store": false});
    let first = world.spawn(EMBED, "k", &body);
    world.provider.asked(1).await;
    world.tasks.abort();
    assert_eq!(first.await.unwrap().unwrap().status, 503);
    world.restart().await;
    world.send(EMBED, "k", &body).await.refused(409, "conflict");
    world.clock.advance(LONG_AFTER);
    world.provider.open();
    let answer = world.send(EMBED, "k", &body).await.ok();
    assert_eq!(world.send(EMBED, "k", &body).await, answer);
}

#[tokio::test]
async fn without_the_store_a_key_is_refused_and_all_else_goes_on() {
    let mut world = World::new().await;
    world.lose_the_store().await;
    let unstored = json!({"text": "x", "store": false});
    let got = world.send(EMBED, "k", &unstored).await.refused(503, "unavailable");
    assert_eq!(got.retry_after.as_deref(), Some("1"));
    world.send(BATCH, "k", &json!([unstored])).await.refused(503, "unavailable");
    world
        .send(BATCH, "", &json!([{"text": "x", "store": false, "request_id": "r"}]))
        .await
        .refused(503, "unavailable");
    let openai = json!({"input": "x", "model": "m"});
    world.send(OPENAI, "k", &openai).await.refused(503, "unavailable");
    assert!(world.provider.texts().is_empty());
    world.send(EMBED, "", &unstored).await.ok();
    world.send(BATCH, "", &json!([unstored])).await.ok();
    world.send(OPENAI, "", &openai).await.ok();
}
