use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{
        BudgetLeaseReply, Entry, LeaseReturn, QuotaLeaseRequest, QuotaUse, TenantEntry, entry::Entry as Value,
    },
    v1::{GetBudgetStatesRequest, GetTenantQuotasRequest, QuotaState, Quotas, VerifyBooksRequest},
};
use embermesh_subscription::Snapshot;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    router::Router,
    world::{HOUR, Replica, World, context, limits, tenant},
};

fn known(quotas: Quotas) -> Snapshot {
    let entry = |n: u128, operator, quotas| TenantEntry {
        tenant_id: tenant(n).to_string(),
        operator,
        quotas,
        ..TenantEntry::default()
    };
    limits(&[]).with_tenant(entry(1, false, Some(quotas))).with_tenant(entry(2, true, None))
}

fn requests(per_day: u64, per_month: u64) -> Quotas {
    Quotas { requests_per_day: Some(per_day), requests_per_month: Some(per_month), ..Quotas::default() }
}

fn wish(router: &Router, quota: &str, least: i64, wanted: i64, for_a_call: bool) -> QuotaLeaseRequest {
    QuotaLeaseRequest {
        lease_id: Uuid::now_v7().to_string(),
        session_id: router.session.clone(),
        quota: quota.to_owned(),
        least,
        wanted,
        for_a_call,
    }
}

async fn ask(router: &Router, request: QuotaLeaseRequest) -> Result<BudgetLeaseReply, Error> {
    let request = router.context.request(request);
    Ok(router.ledger.clone().lease_quota(request).await.map_err(Error::from)?.into_inner())
}

async fn call(router: &Router) -> Result<BudgetLeaseReply, Error> {
    ask(router, wish(router, "requests", 1, 1, true)).await
}

fn used(lease: &str, used: i64, sequence: i64) -> Entry {
    Entry { entry: Some(Value::Used(QuotaUse { lease_id: lease.to_owned(), used, sequence })) }
}

async fn states(world: &World) -> Vec<QuotaState> {
    let request = world.context.request(GetBudgetStatesRequest {});
    world.replica.reports.clone().get_budget_states(request).await.unwrap().into_inner().quotas
}

async fn assert_the_books_balance(world: &World) {
    let request = world.context.request(VerifyBooksRequest {});
    let verified = world.replica.reports.clone().verify_books(request).await.unwrap().into_inner();
    assert_eq!(verified.differences, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_calls_over_two_replicas_and_a_restart_exactly_the_quota_is_let_in() {
    let world = World::new(known(requests(50, 1_000))).await;
    let other = world.another_replica().await;
    let router = |replica: &Replica| Router { ledger: replica.ledger.clone(), ..Router::new(&world) };
    let mut calls = JoinSet::new();
    for n in 0..120 {
        let router = router(if n % 2 == 0 { &world.replica } else { &other });
        calls.spawn(async move { call(&router).await });
    }
    let outcomes = calls.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 50);
    let restarted = router(&world.another_replica().await);
    let error = call(&restarted).await.unwrap_err();
    assert_eq!((error.code, error.retry_after), (Code::QuotaExceeded, Some(HOUR * 12)));
    assert_eq!((&error.details["quota"], &error.details["limit"]), (&"requests".into(), &50.into()));
    let shown = states(&world).await;
    let figures: Vec<_> = shown.iter().map(|state| (&*state.period, state.limit, state.used)).collect();
    assert_eq!(figures, [("day", 50, 50), ("month", 1_000, 50)]);
    assert_the_books_balance(&world).await;
    // of another tenant, and on another day
    let stranger = Router { context: context(tenant(3), None), ..Router::new(&world) };
    assert!(call(&stranger).await.is_ok());
    world.clock.advance(HOUR * 12);
    assert!(call(&restarted).await.is_ok());
}

#[tokio::test]
async fn the_answer_that_was_lost_is_asked_for_again_and_counts_once() {
    let world = World::new(known(requests(10, 10))).await;
    let router = Router::new(&world);
    let wish = wish(&router, "requests", 1, 1, true);
    for _ in 0..3 {
        assert_eq!(ask(&router, wish.clone()).await.unwrap().granted, 1);
    }
    assert_eq!(states(&world).await[0].used, 1);
}

#[tokio::test]
async fn what_a_lease_holds_counts_as_reserved_and_what_is_told_of_it_as_used() {
    let world = World::new(known(Quotas { tokens_per_day: Some(10_000), ..Quotas::default() })).await;
    let router = Router::new(&world);
    let wish = wish(&router, "tokens", 1, 80, false);
    let lease = ask(&router, wish.clone()).await.unwrap();
    assert_eq!((lease.granted, &*lease.day), (80, "2026-11-22"));
    let figures = async || {
        let state = states(&world).await.remove(0);
        (state.used, state.reserved, state.presumed)
    };
    assert_eq!(figures().await, (0, 80, 0));
    let id = &*wish.lease_id;
    router.post(vec![used(id, 30, 1), used(id, 50, 2)]).await;
    assert_eq!(figures().await, (50, 30, 0));
    // a call took less than it might have, and what is told late is no news
    router.post(vec![used(id, 42, 4), used(id, 60, 3)]).await;
    assert_eq!(figures().await, (42, 38, 0));
    world.clock.advance(HOUR);
    world.replica.service.presume_overdue().await.unwrap();
    assert_eq!(figures().await, (42, 0, 38));
    assert_the_books_balance(&world).await;
    router.post(vec![used(id, 44, 5)]).await;
    assert_eq!(figures().await, (44, 36, 0));
    let returned = LeaseReturn { lease_id: id.to_owned(), returned: 36, closes: true };
    router.post(vec![Entry { entry: Some(Value::Returned(returned)) }]).await;
    assert_eq!(figures().await, (44, 0, 0));
    assert_the_books_balance(&world).await;
    assert_eq!(world.account(("tenant", ""), "day", "2026-11-22").await, [0; 4]);
}

#[tokio::test]
async fn only_the_operator_sees_another_tenants_quotas_and_only_whole_tenants_keys_their_own() {
    let world = World::new(known(requests(5, 9))).await;
    let of = |caller: u128, id: &str| {
        let mut context = context(tenant(caller), None);
        context.principal.scopes = embermesh_auth::Scopes::parse(["admin"]).unwrap();
        let request = context.request(GetTenantQuotasRequest { id: id.to_owned() });
        let mut reports = world.replica.reports.clone();
        async move { reports.get_tenant_quotas(request).await.map_err(Error::from) }
    };
    let id = tenant(1).to_string();
    let shown = of(2, &id).await.unwrap().into_inner().quotas;
    assert_eq!(shown.iter().map(|state| state.limit).collect::<Vec<_>>(), [5, 9]);
    assert_eq!(of(1, &id).await.unwrap_err().code, Code::Forbidden);
    assert_eq!(of(2, &tenant(7).to_string()).await.unwrap_err().code, Code::NotFound);
    let bound = context(tenant(1), Some("docs")).request(GetBudgetStatesRequest {});
    let bound = world.replica.reports.clone().get_budget_states(bound).await.unwrap().into_inner();
    assert_eq!(bound.quotas, []);
}
