//! What routers write down and post.

use embermesh_errors::Code;
use embermesh_postgres::Role;
use embermesh_proto::internal::v1::{Entry, RejectedEntry, SettleRequest};

use crate::{
    router::{Router, ended, hit, leased, presumed, settlement},
    world::{HOUR, World, charge, context, limits, part, reservation, settled, shared, tenant, voided},
};

fn codes(rejected: &[RejectedEntry]) -> Vec<(u32, &str)> {
    rejected.iter().map(|one| (one.entry, &*one.failure.as_ref().unwrap().code)).collect()
}

async fn rows(world: &World) -> [i64; 3] {
    let operator = world.connect(Role::Operator).await;
    let sql = "SELECT (SELECT count(*) FROM attempts), (SELECT count(*) FROM charges WHERE NOT cached),
                      (SELECT count(*) FROM charges WHERE cached)";
    let row = operator.system().query_one(sql, &[]).await.unwrap();
    [row.get(0), row.get(1), row.get(2)]
}

/// L4 of the field notes: whatever is told twice, in parts or late, the balances are the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_posted_again_in_any_pieces_by_two_replicas_is_booked_once() {
    let world = World::new(limits(&[("docs", Some(1_000_000), None, None)])).await;
    let router = Router::new(&world);
    let lease = router.lease("docs", 1_000).await;
    let mut journal = Vec::new();
    for n in 0..30 {
        let attempt = world.attempt();
        journal.push(lease.reserved(&world, reservation(attempt, "docs", 20)));
        match n % 3 {
            0 => journal.push(settlement(attempt, "docs", 11)),
            1 => journal.push(ended(voided(attempt))),
            _ => journal.push(presumed(attempt)),
        }
        journal.push(hit(&world, "docs"));
    }
    journal.push(lease.returned(690, true));
    let mut other = router.clone();
    other.ledger = world.another_replica().await.ledger;
    let mut posts = tokio::task::JoinSet::new();
    for (n, router) in [&router, &other, &router, &other].into_iter().enumerate() {
        let (router, journal) = (router.clone(), journal.clone());
        posts.spawn(async move {
            // in their order, and in messages of different lengths
            for entries in journal.chunks(7 * n + 3) {
                router.post(entries.to_vec()).await;
            }
        });
    }
    posts.join_all().await;
    assert_eq!(world.day_of("docs").await, [10 * 11 + 10 * 20, 0, 0, 0]);
    assert_eq!(rows(&world).await, [30, 20, 30]);
}

#[tokio::test]
async fn what_can_never_be_booked_is_named_and_holds_up_nothing() {
    let world = World::new(limits(&[])).await;
    let router = Router::new(&world);
    let lease = router.lease("docs", 100).await;
    let (good, unknown) = (world.attempt(), world.attempt());
    let of = |nanos| lease.reserved(&world, reservation(world.attempt(), "docs", nanos));
    let mut stranger = lease.clone();
    stranger.id = world.attempt().to_string();
    let other_key = {
        let mut message = reservation(world.attempt(), "docs", 1);
        message.parts[0].key_id = "key2".to_owned();
        lease.reserved(&world, message)
    };
    let other_provider = {
        let mut message = reservation(world.attempt(), "docs", 1);
        message.provider = "voyage".to_owned();
        lease.reserved(&world, message)
    };
    let entries = vec![
        Entry { entry: None },
        of(-1),
        lease.reserved(&world, reservation(good, "docs", 30)),
        stranger.reserved(&world, reservation(world.attempt(), "docs", 1)),
        lease.reserved(&world, reservation(world.attempt(), "code", 1)),
        other_key,
        other_provider,
        // costs something, and names no lease
        leased(&world, reservation(world.attempt(), "docs", 1), &lease.day),
        settlement(unknown, "docs", 5),
        settlement(good, "docs", 25),
        stranger.returned(5, true),
        presumed(unknown),
    ];
    let rejected = router.try_post(entries, false).await.unwrap();
    let expected = [
        (0, "invalid_request"),
        (1, "invalid_request"),
        (3, "not_found"),
        (4, "invalid_request"),
        (5, "invalid_request"),
        (6, "invalid_request"),
        (7, "invalid_request"),
        (8, "not_found"),
        (10, "not_found"),
    ];
    assert_eq!(codes(&rejected), expected);
    assert_eq!(world.day_of("docs").await, [25, 0, 75, 0]);
    assert_eq!(rows(&world).await[0], 1);
}

#[tokio::test]
async fn another_tenants_lease_does_not_exist() {
    let world = World::new(limits(&[])).await;
    let router = Router::new(&world);
    let lease = router.lease("docs", 100).await;
    let mut other = router.clone();
    other.context = context(tenant(2), None);
    let entries =
        vec![lease.reserved(&world, reservation(world.attempt(), "docs", 5)), lease.returned(100, true)];
    let rejected = other.try_post(entries, false).await.unwrap();
    assert_eq!(codes(&rejected), [(0, "not_found"), (1, "not_found")]);
    assert_eq!(world.day_of("docs").await, [0, 0, 100, 0]);
}

#[tokio::test]
async fn other_values_for_what_is_booked_are_rejected_and_change_nothing() {
    let world = World::new(limits(&[])).await;
    let router = Router::new(&world);
    let lease = router.lease("docs", 100).await;
    let attempt = world.attempt();
    let reserved = lease.reserved(&world, reservation(attempt, "docs", 30));
    router.post(vec![reserved.clone(), settlement(attempt, "docs", 25)]).await;
    let larger = lease.reserved(&world, reservation(attempt, "docs", 31));
    let split = settled(
        attempt,
        vec![charge(&attempt.to_string(), "docs", 20), charge(&attempt.to_string(), "docs", 5)],
    );
    let billed =
        SettleRequest { billed_units: 3, ..settled(attempt, vec![charge(&attempt.to_string(), "docs", 25)]) };
    let entries = vec![
        larger,
        settlement(attempt, "docs", 26),
        ended(voided(attempt)),
        ended(split),
        ended(billed),
        // these are as they were
        reserved,
        settlement(attempt, "docs", 25),
        presumed(attempt),
    ];
    let rejected = router.try_post(entries, false).await.unwrap();
    assert_eq!(codes(&rejected), [0, 1, 2, 3, 4].map(|entry| (entry, "conflict")));
    assert_eq!(world.day_of("docs").await, [25, 0, 75, 0]);
}

#[tokio::test]
async fn an_attempt_that_cost_more_than_its_lease_had_is_charged_as_it_was() {
    let world = World::new(limits(&[("docs", Some(1_000), None, None)])).await;
    let router = Router::new(&world);
    let lease = router.lease("docs", 10).await;
    let attempt = world.attempt();
    let reserved = lease.reserved(&world, reservation(attempt, "docs", 10));
    router.post(vec![reserved, settlement(attempt, "docs", 25)]).await;
    assert_eq!(world.day_of("docs").await, [25, 0, 0, 0]);
    router.post(vec![lease.returned(0, true)]).await;
    assert_eq!(world.day_of("docs").await, [25, 0, 0, 0]);
}

#[tokio::test]
async fn parts_of_a_shared_call_come_out_of_their_own_leases() {
    let world = World::new(limits(&[])).await;
    let router = Router::new(&world);
    let (docs, code) = (router.lease("docs", 100).await, router.lease("code", 50).await);
    let attempt = world.attempt();
    let mut message =
        shared(attempt, vec![part("a", "docs", 20), part("b", "code", 9), part("c", "free", 0)]);
    message.parts[0].lease_id.clone_from(&docs.id);
    message.parts[1].lease_id.clone_from(&code.id);
    let charges = vec![charge("a", "docs", 15), charge("b", "code", 9), charge("c", "free", 0)];
    // in two messages, so that the parts are read back
    let reserved = leased(&world, message, &docs.day);
    router.post(vec![reserved.clone()]).await;
    router.post(vec![reserved, ended(settled(attempt, charges))]).await;
    assert_eq!(world.day_of("docs").await, [15, 0, 85, 0]);
    assert_eq!(world.day_of("code").await, [9, 0, 41, 0]);
    assert_eq!(world.account(("tenant", ""), "day", "2026-11-22").await, [24, 0, 126, 0]);
}

#[tokio::test]
async fn a_free_call_needs_no_lease_and_is_charged_if_it_was_not_free_after_all() {
    let world = World::new(limits(&[("docs", Some(0), None, None)])).await;
    let router = Router::new(&world);
    let (free, dear) = (world.attempt(), world.attempt());
    let begun = |attempt| leased(&world, reservation(attempt, "docs", 0), "2026-11-22");
    router.post(vec![begun(free), settlement(free, "docs", 0)]).await;
    assert_eq!(world.day_of("docs").await, [0; 4]);
    router.post(vec![begun(dear), settlement(dear, "docs", 3)]).await;
    assert_eq!(world.day_of("docs").await, [3, 0, 0, 0]);
    assert_eq!(rows(&world).await, [2, 2, 0]);
}

#[tokio::test]
async fn what_a_router_tells_after_weeks_is_booked_and_after_months_is_not() {
    let world = World::new(limits(&[])).await;
    let router = Router::new(&world);
    let lease = router.lease("docs", 100).await;
    let (first, second) = (world.attempt(), world.attempt());
    let journal = |attempt| {
        vec![lease.reserved(&world, reservation(attempt, "docs", 5)), settlement(attempt, "docs", 5)]
    };
    let (first, second) = (journal(first), journal(second));
    world.clock.advance(HOUR * 24 * 27);
    router.post(first).await;
    assert_eq!(world.day_of("docs").await, [5, 0, 95, 0]);
    world.clock.advance(HOUR * 24 * 40);
    let rejected = router.try_post(second, false).await.unwrap();
    assert_eq!(codes(&rejected)[0], (0, "invalid_request"));
}

#[tokio::test]
async fn a_direct_reservation_and_its_posted_end_meet_in_one_row() {
    let world = World::new(limits(&[("docs", Some(100), None, None)])).await;
    let router = Router::new(&world);
    let (settled, lost, never) = (world.attempt(), world.attempt(), world.attempt());
    world.reserve(settled, "docs", 30).await.unwrap();
    world.reserve(lost, "docs", 20).await.unwrap();
    router.post(vec![settlement(settled, "docs", 12), presumed(lost), presumed(never)]).await;
    assert_eq!(world.day_of("docs").await, [32, 0, 0, 0]);
    assert_eq!(world.settle(voided(lost)).await.unwrap_err().code, Code::Conflict);
    let mut direct = reservation(world.attempt(), "docs", 1);
    direct.parts[0].lease_id = world.attempt().to_string();
    assert_eq!(world.share(direct).await.unwrap_err().param.as_deref(), Some("parts[0].lease_id"));
}
