use embermesh_admin::Settings;
use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_postgres::{Database, PoolConfig, Role, Schema};
use embermesh_proto::internal::v1::{OrderBreakersRequest, Section};
use embermesh_subscription::{BreakerAction, BreakerOrder, Snapshot};

use crate::{
    subscriber::{subscribe, until},
    world::{Replica, World, context, refused},
};

fn order(action: &str, deployments: &[&str]) -> OrderBreakersRequest {
    let deployments = deployments.iter().map(|name| (*name).to_owned()).collect();
    OrderBreakersRequest { deployments, action: action.to_owned() }
}

fn orders(snapshot: &Snapshot) -> Vec<(String, BreakerAction)> {
    snapshot.breaker_orders().map(|(name, order)| (name.to_owned(), order.action)).collect()
}

fn number(snapshot: &Snapshot, deployment: &str) -> i64 {
    snapshot.breaker_orders().find(|(name, _)| *name == deployment).map_or(0, |(_, order)| order.number)
}

#[tokio::test]
async fn the_last_order_reaches_every_replicas_routers_and_outlives_a_restart() {
    let mut world = World::new().await;
    let admin = world.admin();
    let mut second = Replica::start(&world.database, &world.clock, Settings::default()).await;
    let tasks = Tasks::new();
    let subscription = subscribe(&second, &[Section::Breakers], &tasks);
    let open = admin.request(order("force_open", &["east/x", "west/x"]));
    let version = world.replica.config.order_breakers(open).await.unwrap().into_inner().version;
    until(&subscription, "the order", |s| s.version >= version).await;
    let (east, west) = ("east/x".to_owned(), "west/x".to_owned());
    let state = subscription.current();
    let force_open = BreakerAction::ForceOpen;
    assert_eq!(orders(&state), [(east.clone(), force_open), (west.clone(), force_open)]);

    let reset = admin.request(order("reset", &["west/x", "west/x"]));
    second.config.order_breakers(reset).await.unwrap();
    until(&subscription, "the second order", |s| number(s, "west/x") > number(&state, "west/x")).await;
    let after = subscription.current();
    assert_eq!(orders(&after), [(east, force_open), (west, BreakerAction::Reset)]);
    assert_eq!(number(&after, "east/x"), number(&state, "east/x"), "nobody spoke of it");

    world.replica.tasks.stop();
    let restarted = Replica::start(&world.database, &world.clock, Settings::default()).await;
    let subscription = subscribe(&restarted, &[Section::Breakers], &tasks);
    until(&subscription, "the state after a restart", |s| orders(s) == orders(&after)).await;
    assert_eq!(number(&subscription.current(), "west/x"), number(&after, "west/x"));
}

#[tokio::test]
async fn orders_given_at_once_have_numbers_of_their_own_and_the_highest_is_in_force() {
    let world = World::new().await;
    let second = Replica::start(&world.database, &world.clock, Settings::default()).await;
    let admin = world.admin();
    let tasks = Tasks::new();
    let subscription = subscribe(&second, &[Section::Breakers], &tasks);
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..24 {
        let mut config = if n % 2 == 0 { world.replica.config.clone() } else { second.config.clone() };
        let action = ["reset", "force_open", "force_closed"][n % 3];
        let request = admin.request(order(action, &["east/x"]));
        calls.spawn(
            async move { (config.order_breakers(request).await.unwrap().into_inner().version, action) },
        );
    }
    let mut given = calls.join_all().await;
    given.sort_unstable();
    let last = given[23];
    given.dedup_by_key(|(version, _)| *version);
    assert_eq!(given.len(), 24);
    until(&subscription, "the last order", |s| s.version >= last.0).await;
    let expected = BreakerOrder { action: BreakerAction::named(last.1).unwrap(), number: last.0 };
    assert_eq!(subscription.current().breaker_orders().collect::<Vec<_>>(), [("east/x", &expected)]);
}

#[tokio::test]
async fn orders_are_an_admins_and_name_who_gave_them() {
    let mut world = World::new().await;
    let admin = world.admin();
    let reader = context(world.first.tenant, None, &["embed", "search", "read"]);
    let error =
        refused(world.replica.config.order_breakers(reader.request(order("reset", &["east/x"]))).await);
    assert_eq!(error.code, Code::Forbidden);
    let nobody = refused(world.replica.config.order_breakers(order("reset", &["east/x"])).await);
    assert_eq!(nobody.code, Code::Unauthenticated);
    let wrong = refused(world.replica.config.order_breakers(admin.request(order("open", &["east/x"]))).await);
    assert_eq!((wrong.code, wrong.param.as_deref()), (Code::Invalid, Some("action")));

    world.replica.config.order_breakers(admin.request(order("force_open", &["east/x"]))).await.unwrap();
    let pool = PoolConfig::default();
    let database = Database::connect(world.database.url(), Schema::Admin, Role::App, &pool).await.unwrap();
    let rows =
        database.system().query("SELECT deployment, ordered_by FROM breaker_orders", &[]).await.unwrap();
    let rows: Vec<(&str, &str)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows, [("east/x", admin.principal.key.as_str())]);
}
