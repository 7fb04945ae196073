use embermesh_admin::Settings;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    internal::v1::{ConfigUpdate, Section, SubscribeRequest, config_entry::Value},
    v1::BudgetRule,
};
use embermesh_subscription::Snapshot;
use embermesh_types::TenantId;

use crate::{
    budgets::{budget, delete, limit, make},
    subscriber::{subscribe, until},
    world::{Replica, World},
};

fn held(snapshot: &Snapshot, tenant: TenantId) -> Vec<BudgetRule> {
    snapshot.budgets(tenant).map(|budget| BudgetRule::clone(budget)).collect()
}

#[tokio::test]
async fn a_subscriber_sees_the_budgets_and_then_every_change_and_removal_of_every_replica() {
    let mut world = World::new().await;
    let (admin, other) = (world.admin(), world.other_tenant().await);
    let (ours, theirs) = (world.first.tenant, other.principal.tenant);
    let first = make(&mut world.replica, &admin, budget("tenant", "", "month", 5)).await;
    let foreign = make(&mut world.replica, &other, budget("agent", "docs", "day", 6)).await;
    let mut second = Replica::start(&world.database, &world.clock, Settings::default()).await;
    let tasks = Tasks::new();
    let subscription = subscribe(&second, &[Section::Budgets], &tasks);
    until(&subscription, "the first state", |s| {
        held(s, ours) == [first.clone()] && held(s, theirs) == [foreign.clone()]
    })
    .await;

    // here and there
    let raised = world.replica.budgets.update_budget(admin.request(limit(&first.id, 8))).await.unwrap();
    let raised = raised.into_inner();
    until(&subscription, "a change of the other replica", |s| held(s, ours) == [raised.clone()]).await;
    let next = make(&mut second, &admin, budget("provider", "openai", "request", 1)).await;
    until(&subscription, "a new budget", |s| held(s, ours).contains(&next)).await;

    world.replica.budgets.delete_budget(admin.request(delete(&first.id))).await.unwrap();
    until(&subscription, "a removal of the other replica", |s| held(s, ours) == [next.clone()]).await;
    second.budgets.delete_budget(admin.request(delete(&next.id))).await.unwrap();
    until(&subscription, "a removal of this replica", |s| held(s, ours).is_empty()).await;
    assert_eq!(held(&subscription.current(), theirs), [foreign]);
}

#[tokio::test]
async fn a_removal_names_the_tenant_and_the_id_and_goes_to_subscribers_of_budgets_alone() {
    let mut world = World::new().await;
    let admin = world.admin();
    let made = make(&mut world.replica, &admin, budget("agent", "docs", "day", 5)).await;
    let request =
        |section: Section| SubscribeRequest { sections: vec![section.into()], subscriber: "test".to_owned() };
    let mut agents = world.replica.config.subscribe(request(Section::Agents)).await.unwrap().into_inner();
    let mut budgets = world.replica.config.subscribe(request(Section::Budgets)).await.unwrap().into_inner();
    let snapshot = budgets.message().await.unwrap().unwrap();
    assert_eq!((snapshot.snapshot, snapshot.entries.len()), (true, 1));
    assert!(agents.message().await.unwrap().unwrap().entries.is_empty());
    world.replica.budgets.delete_budget(admin.request(delete(&made.id))).await.unwrap();
    let update = loop {
        let update: ConfigUpdate = budgets.message().await.unwrap().unwrap();
        if !update.entries.is_empty() {
            break update;
        }
    };
    let [entry] = &update.entries[..] else { panic!("{update:?}") };
    let Some(Value::Budget(gone)) = &entry.value else { panic!("{entry:?}") };
    assert!(entry.removed && !update.snapshot && update.version > snapshot.version);
    assert_eq!(gone.tenant_id, world.first.tenant.to_string());
    assert_eq!(gone.budget.as_ref().map(|budget| budget.id.as_str()), Some(made.id.as_str()));
    // a later change of its own section is the first that the other is told
    let agent = embermesh_proto::v1::AgentInput { agent_id: "docs".to_owned(), ..Default::default() };
    world.replica.agents.put_agent(admin.request(agent)).await.unwrap();
    let told = loop {
        let update: ConfigUpdate = agents.message().await.unwrap().unwrap();
        if let Some(entry) = update.entries.into_iter().next() {
            break entry;
        }
    };
    assert!(matches!(told.value, Some(Value::Agent(_))));
}
