//! Books that were brought back to an earlier time.

use embermesh_config::{Config, Database, Secret};
use embermesh_cost_ledger::{books, recovery};
use embermesh_errors::Code;
use embermesh_postgres::Role;
use secrecy::ExposeSecret;

use crate::{
    leases::states,
    router::{Lease, Router, settlement},
    world::{World, limits, reservation},
};

/// What ten tokens cost.
const COST: i64 = 200;

fn config(world: &World) -> Config {
    let url = Some(Secret::new(world.database.url().expose_secret()));
    Config { database: Database { url, ..Database::default() }, ..Config::default() }
}

async fn balanced(world: &World) {
    let found = books(&config(world)).await.unwrap();
    assert!(found.balanced, "{:?}", found.differences);
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_books_hand_no_budget_back_and_charge_what_routers_tell_once() {
    let mut world = World::new(limits(&[("docs", Some(100_000), None, None)])).await;
    let router = Router::new(&world);
    let known = router.lease("docs", 4_000).await;
    let before = world.attempt();
    router.post(vec![known.reserved(&world, reservation(before, "docs", 500))]).await;

    // what comes after this is in no backup
    let now = world.clock.clock().now();
    for _ in 0..2 {
        recovery::mark(&config(&world), now).await.unwrap();
    }
    world.replica = world.another_replica().await;
    let router = Router { ledger: world.replica.ledger.clone(), ..router };
    assert_eq!(world.day_of("docs").await, [0, 0, 0, known.granted]);
    assert_eq!(world.reserve(world.attempt(), "docs", 10).await.unwrap_err().code, Code::Unavailable);
    world.reserve(world.attempt(), "docs", 0).await.unwrap();
    let wish = router.wish(&world.attempt().to_string(), "docs", 1, 100);
    assert_eq!(router.ask(wish).await.unwrap().granted, 0);
    // nobody's end is presumed before it could be told
    world.clock.advance(std::time::Duration::from_secs(20 * 60));
    assert_eq!(world.replica.service.presume_overdue().await.unwrap(), 0);

    // a router that starts tells it all again: of the lease that is known, and of one that was lost with the books
    let lost = Lease { id: world.attempt().to_string(), ..known.clone() };
    let after: Vec<_> = (0..3).map(|_| world.attempt()).collect();
    let mut journal = vec![
        known.reserved(&world, reservation(before, "docs", 500)),
        settlement(before, "docs", COST),
        lost.reserved(&world, reservation(after[0], "docs", 300)),
        lost.reserved(&world, reservation(after[1], "docs", 700)),
        settlement(after[1], "docs", COST),
        settlement(after[0], "docs", COST),
        known.reserved(&world, reservation(after[2], "docs", 250)),
        settlement(after[2], "docs", COST),
        lost.returned(10, true),
    ];
    for _ in 0..2 {
        for piece in journal.chunks(2) {
            router.post(piece.to_vec()).await;
        }
    }
    balanced(&world).await;
    // the session is done, and what its lease has left stays out of reach all the same
    router.close().await;
    assert_eq!(world.day_of("docs").await, [4 * COST, 0, 0, known.granted - 2 * COST]);
    // but for what its router knows that it has not spent
    journal = vec![known.returned(100, true)];
    router.post(journal).await;
    assert_eq!(world.day_of("docs").await, [4 * COST, 0, 0, known.granted - 2 * COST - 100]);
    assert_eq!(states(&world).await, ["closed", "presumed"]);
    balanced(&world).await;

    let told = recovery::reconcile(&config(&world)).await.unwrap().unwrap();
    assert_eq!((told.told_again, told.open, told.presumed), (3, 1, known.granted - 2 * COST - 100));
    assert_eq!(recovery::reconcile(&config(&world)).await.unwrap(), None);
    world.replica.service.presume_overdue().await.unwrap();
    world.reserve(world.attempt(), "docs", 10).await.unwrap();
    let later = Router::new(&world).lease("docs", 100).await;
    assert!(later.granted > 0);
    balanced(&world).await;
    // what is not known is refused again
    let stranger = Lease { id: world.attempt().to_string(), ..known };
    let entry = stranger.reserved(&world, reservation(world.attempt(), "docs", 1));
    assert_eq!(router.try_post(vec![entry], false).await.unwrap().len(), 1);
    let recoveries = "SELECT count(*) FROM recoveries WHERE reconciled_at IS NOT NULL";
    let row = world.connect(Role::Operator).await.system().query_one(recoveries, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
}
