//! Leases and the journal against the real ledger, on PostgreSQL.

mod quotas;
mod world;

use std::{fs, time::Duration};

use embermesh_errors::Code;

use self::world::{World, journals, until};

/// Of each call here, at most.
const BOUND: i64 = 1_000;

#[tokio::test]
async fn a_familiar_path_spends_from_leases_and_the_books_say_what_it_spent() {
    let world = World::new(&[("a", 10_000_000)]).await;
    let router = world.router();
    router.until_leased("a", BOUND).await;
    let before = router.direct();
    for _ in 0..200 {
        let hold = router.reserve("a", BOUND).await.unwrap();
        router.settle(hold, &["a"], 300).await;
    }
    assert!(router.leased() > 100, "{} of 200 came out of leases", router.leased());
    assert!(router.direct() - before < 100);
    let calls = router.calls();
    router.stop().await;
    let books = world.books("a").await;
    assert_eq!((books.reserved, books.leased, books.presumed), (0, 0, 0));
    assert_eq!(books.attempts, calls);
    assert_eq!(books.spent, router.spent());
    assert!(journals(&router.dir).is_empty(), "a journal that is in the books goes");
}

#[tokio::test]
async fn a_budget_for_k_calls_admits_k_though_another_router_holds_a_lease() {
    let k = 400;
    let world = World::new(&[("a", k * BOUND)]).await;
    let [one, other] = [world.router(), world.router()];
    one.until_leased("a", BOUND).await;
    other.until_leased("a", BOUND).await;
    let mut admitted = one.calls() + other.calls();
    loop {
        let router = if admitted % 2 == 0 { &one } else { &other };
        match router.reserve("a", BOUND).await {
            Ok(hold) => router.settle(hold, &["a"], BOUND).await,
            Err(error) => {
                assert_eq!(error.code, Code::BudgetExceeded, "{error}");
                break;
            }
        }
        admitted += 1;
        if admitted % 25 == 0 {
            let books = world.books("a").await;
            assert!(books.used() <= k * BOUND, "{books:?}");
        }
    }
    // what was spent less than its bound while the leases were asked for is what is left
    let unspent = k * BOUND - (one.spent() + other.spent());
    assert!((0..BOUND).contains(&unspent), "{unspent} are left, {admitted} calls");
    assert!(one.leased() + other.leased() > 0);
}

#[tokio::test]
async fn while_the_ledger_is_away_leased_money_is_spent_and_then_calls_are_refused_as_unavailable() {
    let world = World::new(&[("a", 10_000_000)]).await;
    let router = world.router();
    router.until_leased("a", BOUND).await;
    world.cut(true);
    let mut made = 0;
    let error = loop {
        match router.reserve("a", BOUND).await {
            Ok(hold) => router.settle(hold, &["a"], BOUND).await,
            Err(error) => break error,
        }
        made += 1;
    };
    assert!(made > 0, "nothing was spent from the lease");
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.retry_after.is_some() && error.message.contains("ledger is away"), "{error}");
    world.cut(false);
    until(|| async {
        let Ok(hold) = router.reserve("a", BOUND).await else { return false };
        router.void(hold).await;
        true
    })
    .await;
    router.stop().await;
    let books = world.books("a").await;
    assert_eq!((books.reserved, books.leased, books.presumed), (0, 0, 0));
    assert_eq!(books.spent, router.spent());
}

#[tokio::test]
async fn after_a_crash_what_had_ended_is_booked_and_what_had_not_is_charged_at_its_bound() {
    let world = World::new(&[("a", 10_000_000)]).await;
    let router = world.router();
    router.until_leased("a", BOUND).await;
    world.cut(true);
    let settled = router.reserve("a", BOUND).await.unwrap();
    router.settle(settled, &["a"], 10).await;
    let open = router.reserve("a", BOUND).await.unwrap();
    let spent = router.spent();
    router.crash(vec![open]).await;
    world.cut(false);
    let next = world.router_in(&router.dir);
    until(|| async { journals(&router.dir).len() == 1 }).await;
    let books = world.books("a").await;
    assert_eq!(books.spent, spent + BOUND);
    assert_eq!((books.reserved, books.leased, books.presumed), (0, 0, 0));
    assert_eq!(books.presumed_attempts, 1);
    next.stop().await;
}

#[tokio::test]
async fn an_attempt_that_the_ledger_was_asked_for_before_a_crash_is_presumed() {
    let world = World::new(&[("a", 10_000_000)]).await;
    let router = world.router();
    let direct = router.reserve("a", BOUND).await.unwrap();
    assert_eq!((router.direct(), router.leased()), (1, 0));
    router.crash(vec![direct]).await;
    let next = world.router_in(&router.dir);
    until(|| async { journals(&router.dir).len() == 1 }).await;
    let books = world.books("a").await;
    assert_eq!((books.spent, books.reserved, books.presumed_attempts), (BOUND, 0, 1));
    next.stop().await;
}

#[tokio::test]
async fn after_the_machine_went_down_a_lease_is_not_handed_back() {
    let world = World::new(&[("a", 10_000_000)]).await;
    let router = world.router();
    router.until_leased("a", BOUND).await;
    router.crash(Vec::new()).await;
    let [session] = &journals(&router.dir)[..] else { panic!("one session") };
    fs::write(session.join("header"), "EMBJRNL1 another boot\n").unwrap();
    let next = world.router_in(&router.dir);
    until(|| async { !session.exists() }).await;
    let books = world.books("a").await;
    assert_eq!((books.spent, books.reserved), (router.spent(), 0));
    assert!(books.leased + books.presumed > 0, "{books:?}");
    next.stop().await;
}

#[tokio::test]
async fn a_shared_call_comes_out_of_the_leases_of_all_or_of_none() {
    let world = World::new(&[("a", 10_000_000), ("b", 10_000_000)]).await;
    let router = world.router();
    router.until_leased("a", BOUND).await;
    let direct = router.direct();
    let hold = router.reserve_for(&["a", "b"], BOUND).await.unwrap();
    assert_eq!(router.direct(), direct + 1, "b has no lease");
    router.void(hold).await;
    router.until_leased("b", BOUND).await;
    let leased = router.leased();
    until(|| async {
        let hold = router.reserve_for(&["a", "b"], BOUND).await.unwrap();
        router.settle(hold, &["a", "b"], 400).await;
        router.leased() > leased
    })
    .await;
    router.stop().await;
    let (a, b) = (world.books("a").await, world.books("b").await);
    assert_eq!(a.spent + b.spent, router.spent());
    assert_eq!((a.leased, a.reserved, b.leased, b.reserved), (0, 0, 0, 0));
}

#[tokio::test]
async fn free_attempts_need_neither_a_lease_nor_the_ledger() {
    let world = World::new(&[("a", 1)]).await;
    let router = world.router();
    world.cut(true);
    for _ in 0..5 {
        let hold = router.reserve("a", 0).await.unwrap();
        router.settle(hold, &["a"], 0).await;
    }
    assert_eq!((router.direct(), router.leased()), (0, 0));
    world.cut(false);
    router.stop().await;
    let books = world.books("a").await;
    assert_eq!((books.attempts, books.spent), (5, 0));
}

#[tokio::test]
async fn at_midnight_the_old_lease_is_returned_and_an_open_attempt_is_paid_by_its_own_day() {
    let world = World::new(&[("a", 10_000_000)]).await;
    let router = world.router();
    router.until_leased("a", BOUND).await;
    let evening = router.reserve("a", BOUND).await.unwrap();
    world.clock.advance(Duration::from_secs(13 * 3600));
    let direct = router.direct();
    let morning = router.reserve("a", BOUND).await.unwrap();
    assert_eq!(router.direct(), direct + 1, "nothing is drawn from yesterday's lease");
    router.settle(evening, &["a"], 700).await;
    router.settle(morning, &["a"], 50).await;
    router.stop().await;
    let [yesterday, today] =
        [world.books_of("a", "2026-11-22").await, world.books_of("a", "2026-11-23").await];
    assert_eq!((yesterday.spent, today.spent), (router.spent() - 50, 50));
    assert_eq!((yesterday.leased, yesterday.reserved, today.leased, today.reserved), (0, 0, 0, 0));
}

#[tokio::test]
async fn without_a_place_for_a_journal_the_ledger_is_asked_for_everything() {
    let world = World::new(&[("a", 10_000_000)]).await;
    let router = world.router_without_journal();
    for _ in 0..5 {
        let hold = router.reserve("a", BOUND).await.unwrap();
        router.settle(hold, &["a"], 1).await;
    }
    let hold = router.reserve("a", BOUND).await.unwrap();
    router.void(hold).await;
    assert_eq!((router.direct(), router.leased()), (6, 0));
    let books = world.books("a").await;
    assert_eq!((books.spent, books.reserved, books.attempts), (5, 0, 6));
}
