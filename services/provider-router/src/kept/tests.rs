use embermesh_types::TenantId;

use super::*;
use crate::{
    cache::{key_maker, lone_key},
    pace::tests::Store,
};

fn cached(n: u8) -> Cached {
    Cached {
        vector: vec![n; 12].into(),
        tokens: TokenCount(u64::from(n)),
        provider: "openai".into(),
        made: SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_164_800_123),
        kept: SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_164_900_456),
        stamp: 7,
    }
}

fn key(n: u8) -> Key {
    key_maker(TenantId::SYSTEM, &"m@3".parse().unwrap(), "").key(&n.to_string())
}

fn facts(cached: &Cached) -> (Bytes, TokenCount, Arc<str>, [SystemTime; 2], i64) {
    let Cached { vector, tokens, provider, made, kept, stamp } = cached.clone();
    (vector, tokens, provider, [made, kept], stamp)
}

#[tokio::test]
async fn what_one_router_puts_another_gets() {
    let store = Store::with_redis().await;
    let [one, other] = [Kept::new(store.transport.clone()), Kept::new(store.transport.clone())];
    let put: Vec<(Key, Cached)> = (0..3).map(|n| (key(n), cached(n))).collect();
    let asked = [key(2), key(9), key(0)];
    let end = Instant::now() + Duration::from_secs(30);
    // the connection of writes may come up later
    let found = loop {
        one.put(put.clone(), Duration::from_secs(60)).await;
        let found = other.get(&asked).await;
        if found[0].is_some() {
            break found;
        }
        assert!(Instant::now() < end, "it is not kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let expected = [Some(facts(&cached(2))), None, Some(facts(&cached(0)))];
    assert_eq!(found.iter().map(|kept| kept.as_ref().map(facts)).collect::<Vec<_>>(), expected);
    assert!(other.is_there());
    let many: Vec<Key> = (0..5_000).map(|_| lone_key()).collect();
    assert_eq!(other.get(&many).await.len(), 5_000);
}

#[tokio::test]
async fn without_redis_nothing_is_found_and_nobody_asks_again_for_a_while() {
    let store = Store::start(None).await;
    let kept = Kept::new(store.transport.clone());
    assert!(kept.is_there());
    assert!(kept.get(&[key(1), key(2)]).await.iter().all(Option::is_none));
    assert!(!kept.is_there());
    assert!(kept.clone().get(&[key(1)]).await[0].is_none());
}
