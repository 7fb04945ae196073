//! Routers that fall silent, come back, or are done.

use embermesh_proto::internal::v1::{RenewReply, RenewRequest, ReserveRequest};

use crate::{
    leases::states,
    router::{Router, presumed, settlement},
    world::{HOUR, World, context, limits, reservation, tenant},
};

async fn renew(router: &Router) -> RenewReply {
    let request = RenewRequest { session_id: router.session.clone() };
    router.ledger.clone().renew(router.context.request(request)).await.unwrap().into_inner()
}

async fn sweep(world: &World) -> usize {
    world.replica.service.presume_overdue().await.unwrap()
}

/// L3 of the field notes.
#[tokio::test]
async fn a_silent_routers_money_is_presumed_and_never_shown_as_reserved_for_ever() {
    let world = World::new(limits(&[("docs", Some(10_000), None, None)])).await;
    let router = Router::new(&world);
    let lease = router.lease("docs", 100).await;
    let (out_of_lease, direct) = (world.attempt(), world.attempt());
    router.post(vec![lease.reserved(&world, reservation(out_of_lease, "docs", 30))]).await;
    let message = ReserveRequest { session_id: router.session.clone(), ..reservation(direct, "docs", 50) };
    world.share(message).await.unwrap();
    world.clock.advance(HOUR / 120);
    assert_eq!(sweep(&world).await, 0);
    assert_eq!(world.day_of("docs").await, [0, 50, 100, 0]);
    world.clock.advance(HOUR / 120);
    assert_eq!(sweep(&world).await, 2);
    assert_eq!(world.day_of("docs").await, [80, 0, 0, 70]);
    assert_eq!(states(&world).await, ["presumed"]);
    assert_eq!(sweep(&world).await, 0);

    // it was only away: what its lease has left is leased again
    router.post(vec![]).await;
    assert_eq!(world.day_of("docs").await, [80, 0, 70, 0]);
    let later = world.attempt();
    router
        .post(vec![lease.reserved(&world, reservation(later, "docs", 70)), settlement(later, "docs", 1)])
        .await;
    router.close().await;
    assert_eq!(world.day_of("docs").await, [81, 0, 0, 0]);
}

#[tokio::test]
async fn a_router_that_renews_keeps_its_leases_and_its_attempts() {
    let world = World::new(limits(&[])).await;
    let (router, silent) = (Router::new(&world), Router::new(&world));
    let lease = router.lease("docs", 100).await;
    silent.lease("docs", 10).await;
    let attempt = world.attempt();
    router.post(vec![lease.reserved(&world, reservation(attempt, "docs", 30))]).await;
    for _ in 0..2 {
        world.clock.advance(HOUR / 110);
        assert_eq!(renew(&router).await.leases, []);
        assert_eq!(sweep(&world).await, 0);
    }
    assert_eq!(world.day_of("docs").await, [0, 0, 100, 10]);
    // far longer than an attempt whose router is not known may be open
    for _ in 0..2 {
        world.clock.advance(HOUR / 3);
        router.post(vec![]).await;
        assert_eq!(sweep(&world).await, 0);
    }
    router.post(vec![settlement(attempt, "docs", 25)]).await;
    assert_eq!(world.day_of("docs").await, [25, 0, 75, 10]);
}

#[tokio::test]
async fn the_last_of_a_session_closes_its_leases_of_every_tenant() {
    let world = World::new(limits(&[])).await;
    let router = Router::new(&world);
    let mut elsewhere = router.clone();
    elsewhere.context = context(tenant(2), None);
    let (lease, _) = (router.lease("docs", 100).await, elsewhere.lease("docs", 40).await);
    let bystander = Router::new(&world).lease("docs", 7).await;
    let (open, done) = (world.attempt(), world.attempt());
    router
        .post(vec![
            lease.reserved(&world, reservation(open, "docs", 30)),
            lease.reserved(&world, reservation(done, "docs", 20)),
            settlement(done, "docs", 20),
        ])
        .await;
    router.close().await;
    // what is under way stays set aside, and nobody waits for it for ever
    assert_eq!(world.day_of("docs").await, [20, 0, 30 + bystander.granted, 0]);
    assert_eq!(states(&world).await.iter().filter(|state| *state == "open").count(), 2);
    assert_eq!(sweep(&world).await, 1);
    assert_eq!(world.day_of("docs").await, [50, 0, bystander.granted, 0]);
    for _ in 0..2 {
        router.close().await;
    }
    assert_eq!(states(&world).await.iter().filter(|state| *state == "closed").count(), 2);
}

#[tokio::test]
async fn a_router_that_starts_again_replays_its_predecessors_journal_and_frees_what_it_held() {
    let world = World::new(limits(&[("docs", Some(10_000), None, None)])).await;
    let dead = Router::new(&world);
    let lease = dead.lease("docs", 100).await;
    let (posted, kept, lost) = (world.attempt(), world.attempt(), world.attempt());
    let journal = vec![
        lease.reserved(&world, reservation(posted, "docs", 10)),
        settlement(posted, "docs", 9),
        lease.reserved(&world, reservation(kept, "docs", 20)),
        settlement(kept, "docs", 19),
        lease.reserved(&world, reservation(lost, "docs", 30)),
    ];
    dead.post(journal[..2].to_vec()).await;
    world.clock.advance(HOUR / 60);
    assert_eq!(sweep(&world).await, 0);
    assert_eq!(world.day_of("docs").await, [9, 0, 0, 91]);
    dead.post(journal).await;
    dead.post(vec![presumed(lost)]).await;
    dead.close().await;
    assert_eq!(world.day_of("docs").await, [9 + 19 + 30, 0, 0, 0]);
    // late, and changes nothing
    world.clock.advance(HOUR);
    assert_eq!(sweep(&world).await, 0);
    assert_eq!(states(&world).await, ["closed"]);
}
