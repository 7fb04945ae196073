use std::sync::Arc;

use embermesh_errors::Code;
use embermesh_escrow::Quota;
use embermesh_proto::v1::Quotas;
use tokio::task::JoinSet;

use super::world::{World, journals, until};

fn requests(per_day: u64) -> Quotas {
    Quotas { requests_per_day: Some(per_day), ..Quotas::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_routers_let_in_a_quota_of_k_requests_exactly_k_times_out_of_leases_and_alone() {
    let k = 1_500;
    let world = World::with_quotas(requests(k)).await;
    let routers = [Arc::new(world.router()), Arc::new(world.router())];
    let mut clients = JoinSet::new();
    for n in 0..8 {
        let router = Arc::clone(&routers[n % 2]);
        clients.spawn(async move {
            let (mut leased, mut alone) = (0, 0);
            loop {
                match router.take(Quota::Requests, 1).await {
                    Ok(taken) => *(if taken.is_leased() { &mut leased } else { &mut alone }) += 1,
                    Err(error) => {
                        assert_eq!(error.code, Code::QuotaExceeded, "{error}");
                        return (leased, alone);
                    }
                }
            }
        });
    }
    let taken = clients.join_all().await;
    let (leased, alone): (Vec<u64>, Vec<u64>) = taken.into_iter().unzip();
    let (leased, alone): (u64, u64) = (leased.iter().sum(), alone.iter().sum());
    assert_eq!(leased + alone, k);
    assert!(leased > 0, "nothing came out of a lease");
    for router in &routers {
        router.stop().await;
    }
    assert_eq!(world.quota("requests").await, [i64::try_from(k).unwrap(), 0, 0, 0]);
}

#[tokio::test]
async fn after_a_crash_what_was_counted_stays_counted_and_the_rest_of_the_lease_is_free() {
    let world = World::with_quotas(requests(5_000)).await;
    let router = world.router();
    let mut taken = router.until_a_lease_counts().await;
    world.cut(true);
    let mut refused = None;
    for _ in 0..5 {
        match router.take(Quota::Requests, 1).await {
            Ok(_) => taken += 1,
            Err(error) => refused = Some(error),
        }
    }
    // what is under way when the process dies counts
    if let Ok(open) = router.take(Quota::Requests, 1).await {
        std::mem::forget(open);
        taken += 1;
    }
    assert!(refused.is_none_or(|error| error.code == Code::Unavailable));
    router.crash(Vec::new()).await;
    world.cut(false);
    let next = world.router_in(&router.dir);
    until(|| async { journals(&router.dir).len() == 1 }).await;
    assert_eq!(world.quota("requests").await, [i64::try_from(taken).unwrap(), 0, 0, 0]);
    next.stop().await;
}

#[tokio::test]
async fn while_the_ledger_is_away_a_lease_lets_in_and_then_nobody_does() {
    let world = World::with_quotas(requests(5_000)).await;
    let router = world.router();
    let mut taken = router.until_a_lease_counts().await;
    world.cut(true);
    let error = loop {
        match router.take(Quota::Requests, 1).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::Unavailable, "{error}");
    assert!(taken > 1 && error.retry_after.is_some());
    world.cut(false);
    router.stop().await;
    assert_eq!(world.quota("requests").await, [i64::try_from(taken).unwrap(), 0, 0, 0]);
}

#[tokio::test]
async fn what_a_call_did_not_take_in_the_end_is_free_again_with_and_without_a_journal() {
    let tokens = Quotas { tokens_per_day: Some(100), ..Quotas::default() };
    let world = World::with_quotas(tokens).await;
    let (journal, plain) = (world.router(), world.router_without_journal());
    for router in [&journal, &plain] {
        let taken = router.take(Quota::Tokens, 60).await.unwrap();
        let error = router.take(Quota::Tokens, 60).await.unwrap_err();
        assert_eq!((error.code, &error.details["used"]), (Code::QuotaExceeded, &60.into()));
        taken.end(0);
        until(|| async { world.quota("tokens").await == [0; 4] }).await;
    }
    // more than was thought is what it is
    plain.take(Quota::Tokens, 60).await.unwrap().end(70);
    until(|| async { world.quota("tokens").await == [70, 0, 0, 0] }).await;
    drop(journal.take(Quota::Tokens, 20).await.unwrap());
    assert_eq!(world.quota("tokens").await, [90, 0, 0, 0]);
    assert!(journal.books.quotas.take(&journal.ctx(), Quota::Requests, 1).await.unwrap().is_none());
}
