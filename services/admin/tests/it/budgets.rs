use embermesh_errors::Code;
use embermesh_proto::{
    CONFIG_VERSION,
    v1::{
        BudgetRule, CreateBudgetRequest, CreateKeyRequest, DeleteBudgetRequest, GetBudgetRequest,
        ListBudgetsRequest, RevokeKeyRequest, UpdateBudgetRequest,
    },
};
use embermesh_transport::CallContext;

use crate::world::{Replica, World, context, refused};

pub(crate) fn budget(scope: &str, subject: &str, period: &str, nanos: i64) -> CreateBudgetRequest {
    CreateBudgetRequest {
        scope: scope.to_owned(),
        subject: (!subject.is_empty()).then(|| subject.to_owned()),
        period: period.to_owned(),
        limit_nano_usd: Some(nanos),
        alert_percents: vec![],
    }
}

pub(crate) async fn make(
    replica: &mut Replica,
    by: &CallContext,
    request: CreateBudgetRequest,
) -> BudgetRule {
    replica.budgets.create_budget(by.request(request)).await.unwrap().into_inner()
}

pub(crate) fn limit(id: &str, nanos: i64) -> UpdateBudgetRequest {
    UpdateBudgetRequest { id: id.to_owned(), limit_nano_usd: Some(nanos), ..UpdateBudgetRequest::default() }
}

pub(crate) fn delete(id: &str) -> DeleteBudgetRequest {
    DeleteBudgetRequest { id: id.to_owned() }
}

fn get(id: &str) -> GetBudgetRequest {
    GetBudgetRequest { id: id.to_owned() }
}

async fn list(world: &mut World, by: &CallContext) -> Vec<BudgetRule> {
    let request = by.request(ListBudgetsRequest::default());
    world.replica.budgets.list_budgets(request).await.unwrap().into_inner().budgets
}

#[tokio::test]
async fn a_budget_is_made_read_changed_and_removed() {
    let mut world = World::new().await;
    let admin = world.admin();
    let made = make(&mut world.replica, &admin, budget("agent", "docs", "day", 7)).await;
    assert_eq!((made.version, made.limit_nano_usd), (1, 7));
    assert_eq!(made.alert_percents, [50, 80, 100]);
    assert!(made.created_at.is_some() && made.created_at == made.updated_at);
    let budgets = &mut world.replica.budgets;
    assert_eq!(budgets.get_budget(admin.request(get(&made.id))).await.unwrap().into_inner(), made);

    world.clock.advance(std::time::Duration::from_secs(60));
    let raised = budgets.update_budget(admin.request(limit(&made.id, 9))).await.unwrap();
    assert!(raised.metadata().contains_key(CONFIG_VERSION));
    let raised = raised.into_inner();
    assert_eq!((raised.version, raised.limit_nano_usd, &raised.alert_percents), (2, 9, &made.alert_percents));
    assert_eq!(raised.created_at, made.created_at);
    assert_ne!(raised.updated_at, made.updated_at);
    // the same change again is no change
    let same = budgets.update_budget(admin.request(limit(&made.id, 9))).await.unwrap();
    assert!(!same.metadata().contains_key(CONFIG_VERSION));
    assert_eq!(same.into_inner(), raised);
    let alerts = UpdateBudgetRequest { id: made.id.clone(), alert_percents: vec![90], ..Default::default() };
    let alerts = budgets.update_budget(admin.request(alerts)).await.unwrap().into_inner();
    assert_eq!((alerts.version, alerts.limit_nano_usd, alerts.alert_percents), (3, 9, vec![90]));

    let stale = UpdateBudgetRequest { version: Some(2), ..limit(&made.id, 1) };
    let error = refused(budgets.update_budget(admin.request(stale)).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Conflict, Some("version")));
    assert_eq!(error.details["current_version"], 3);
    let current = UpdateBudgetRequest { version: Some(3), ..limit(&made.id, 0) };
    assert_eq!(budgets.update_budget(admin.request(current)).await.unwrap().into_inner().limit_nano_usd, 0);

    budgets.delete_budget(admin.request(delete(&made.id))).await.unwrap();
    for id in [made.id.as_str(), "no-uuid", "nul\0"] {
        assert_eq!(refused(budgets.get_budget(admin.request(get(id))).await).code, Code::NotFound);
        assert_eq!(refused(budgets.update_budget(admin.request(limit(id, 1))).await).code, Code::NotFound);
        assert_eq!(refused(budgets.delete_budget(admin.request(delete(id))).await).code, Code::NotFound);
    }
    assert!(list(&mut world, &admin).await.is_empty());
}

#[tokio::test]
async fn one_scope_subject_and_period_has_one_budget_however_many_ask_at_once() {
    let mut world = World::new().await;
    let second = Replica::start(&world.database, &world.clock, embermesh_admin::Settings::default()).await;
    let admin = world.admin();
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..12 {
        let mut budgets = if n % 2 == 0 { world.replica.budgets.clone() } else { second.budgets.clone() };
        let request = admin.request(budget("provider", "openai", "month", n));
        calls.spawn(async move { budgets.create_budget(request).await });
    }
    let (made, others): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().partition(Result::is_ok);
    let [Ok(made)] = &made[..] else { panic!("{} were made", made.len()) };
    for other in others {
        let error = refused(other);
        assert_eq!((error.code, error.param.as_deref()), (Code::Conflict, Some("subject")));
        assert_eq!(error.details["id"], made.get_ref().id);
    }
    // another period, subject or scope is another budget
    for other in [
        budget("provider", "openai", "day", 1),
        budget("provider", "azure", "month", 1),
        budget("agent", "openai", "month", 1),
        budget("tenant", "", "month", 1),
    ] {
        make(&mut world.replica, &admin, other).await;
    }
    let remove = admin.request(delete(&made.get_ref().id));
    world.replica.budgets.delete_budget(remove).await.unwrap();
    let again = make(&mut world.replica, &admin, budget("provider", "openai", "month", 5)).await;
    assert_ne!(again.id, made.get_ref().id);
}

#[tokio::test]
async fn impossible_budgets_are_refused_by_field_and_are_not_there() {
    let mut world = World::new().await;
    let admin = world.admin();
    let other = world.other_tenant().await;
    let new = CreateKeyRequest { name: "theirs".to_owned(), ..CreateKeyRequest::default() };
    let theirs = world.replica.keys.create_key(other.request(new)).await.unwrap().into_inner().id;
    let missing = CreateBudgetRequest { limit_nano_usd: None, ..budget("tenant", "", "day", 0) };
    for (param, request) in [
        ("scope", budget("team", "a", "day", 1)),
        ("subject", budget("tenant", "docs", "day", 1)),
        ("subject", budget("agent", "", "day", 1)),
        // a budget of a mistyped key would limit nothing
        ("subject", budget("key", "nosuchkey", "day", 1)),
        ("subject", budget("key", &theirs, "day", 1)),
        ("period", budget("tenant", "", "week", 1)),
        ("limit_usd", budget("tenant", "", "day", -1)),
        ("limit_usd", missing),
    ] {
        let error = refused(world.replica.budgets.create_budget(admin.request(request)).await);
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{error}");
    }
    assert!(list(&mut world, &admin).await.is_empty());
}

#[tokio::test]
async fn budgets_of_another_tenant_do_not_exist() {
    let mut world = World::new().await;
    let (admin, other) = (world.admin(), world.other_tenant().await);
    let ours = make(&mut world.replica, &admin, budget("tenant", "", "day", 7)).await;
    let budgets = &mut world.replica.budgets;
    assert_eq!(refused(budgets.get_budget(other.request(get(&ours.id))).await).code, Code::NotFound);
    let raise = other.request(limit(&ours.id, 9));
    assert_eq!(refused(budgets.update_budget(raise).await).code, Code::NotFound);
    let remove = other.request(delete(&ours.id));
    assert_eq!(refused(budgets.delete_budget(remove).await).code, Code::NotFound);
    assert!(list(&mut world, &other).await.is_empty());
    // the same scope, subject and period is theirs to limit too
    let theirs = make(&mut world.replica, &other, budget("tenant", "", "day", 1)).await;
    assert_eq!(list(&mut world, &other).await, [theirs]);
    assert_eq!(list(&mut world, &admin).await, [ours]);
}

#[tokio::test]
async fn costs_reads_admin_writes_and_a_bound_key_sees_what_limits_its_agent_and_itself() {
    let mut world = World::new().await;
    let admin = world.admin();
    let tenant = world.first.tenant;
    let new = CreateKeyRequest { name: "ci".to_owned(), ..CreateKeyRequest::default() };
    let key = world.replica.keys.create_key(admin.request(new)).await.unwrap().into_inner().id;
    let mut all = Vec::new();
    for (scope, subject) in
        [("agent", "code"), ("agent", "docs"), ("key", &key), ("provider", "docs"), ("tenant", "")]
    {
        all.push(make(&mut world.replica, &admin, budget(scope, subject, "day", 1)).await);
    }
    let costs = context(tenant, None, &["costs"]);
    assert_eq!(list(&mut world, &costs).await, all);
    let request = costs.request(budget("agent", "new", "day", 1));
    assert_eq!(refused(world.replica.budgets.create_budget(request).await).code, Code::Forbidden);
    let request = costs.request(limit(&all[0].id, 2));
    assert_eq!(refused(world.replica.budgets.update_budget(request).await).code, Code::Forbidden);
    let request = costs.request(delete(&all[0].id));
    assert_eq!(refused(world.replica.budgets.delete_budget(request).await).code, Code::Forbidden);
    let reader = context(tenant, None, &["read"]);
    let request = reader.request(ListBudgetsRequest::default());
    assert_eq!(refused(world.replica.budgets.list_budgets(request).await).code, Code::Forbidden);

    let mut bound = context(tenant, Some("docs"), &["costs"]);
    bound.principal.key = key.parse().unwrap();
    assert_eq!(list(&mut world, &bound).await, all[1..3]);
    for (at, budget) in all.iter().enumerate() {
        let seen = world.replica.budgets.get_budget(bound.request(get(&budget.id))).await;
        assert_eq!(seen.is_ok(), (1..3).contains(&at), "{budget:?}");
    }
}

#[tokio::test]
async fn a_budget_stays_with_the_id_of_its_key_when_keys_change() {
    let mut world = World::new().await;
    let admin = world.admin();
    let new = || admin.request(CreateKeyRequest { name: "ci".to_owned(), ..CreateKeyRequest::default() });
    let old = world.replica.keys.create_key(new()).await.unwrap().into_inner().id;
    let made = make(&mut world.replica, &admin, budget("key", &old, "month", 5)).await;
    let next = world.replica.keys.create_key(new()).await.unwrap().into_inner().id;
    let revoke = admin.request(RevokeKeyRequest { id: old });
    world.replica.keys.revoke_key(revoke).await.unwrap();
    assert_eq!(list(&mut world, &admin).await, std::slice::from_ref(&made));
    // it limits no key that takes the old one's place
    let its_own = make(&mut world.replica, &admin, budget("key", &next, "month", 5)).await;
    assert_ne!(its_own.id, made.id);
}

#[tokio::test]
async fn pages_hold_every_budget_once_in_the_order_of_scope_subject_and_period() {
    let mut world = World::new().await;
    let admin = world.admin();
    let mut expected = Vec::new();
    for period in ["day", "month", "request"] {
        for subject in ["b", "B", "a", "a:1"] {
            let made = make(&mut world.replica, &admin, budget("agent", subject, period, 1)).await;
            expected.push((made.scope, made.subject, made.period));
        }
    }
    expected.sort();
    let (mut seen, mut page_token) = (Vec::new(), None);
    loop {
        let request = ListBudgetsRequest { page_size: Some(5), page_token };
        let page = world.replica.budgets.list_budgets(admin.request(request)).await.unwrap().into_inner();
        assert!(page.budgets.len() <= 5);
        seen.extend(page.budgets.into_iter().map(|made| (made.scope, made.subject, made.period)));
        page_token = page.next_page_token;
        if page_token.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
    let foreign = ListBudgetsRequest { page_size: None, page_token: Some("x".to_owned()) };
    let error = refused(world.replica.budgets.list_budgets(admin.request(foreign)).await);
    assert_eq!(error.param.as_deref(), Some("page_token"));
}
