use embermesh_admin::Settings;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    CONFIG_VERSION,
    internal::v1::{ConfigUpdate, PinSpaceRequest, Section, SubscribeRequest, config_entry::Value},
    v1::{AddPriceRequest, AgentInput, Constraints, CreateKeyRequest, DeleteAgentRequest, RevokeKeyRequest},
};
use embermesh_subscription::Snapshot;
use embermesh_types::AgentId;

use crate::{
    subscriber::{subscribe, until},
    world::{Replica, World, refused, shipped},
};

fn limited(id: &str, nanos: i64) -> AgentInput {
    let constraints = Constraints { max_cost_per_day_nano_usd: Some(nanos), ..Constraints::default() };
    AgentInput { agent_id: id.to_owned(), constraints: Some(constraints), ..AgentInput::default() }
}

fn limit(snapshot: &Snapshot, world: &World, id: &str) -> Option<i64> {
    let agent: AgentId = id.parse().unwrap();
    snapshot.agent(world.first.tenant, &agent)?.constraints.as_ref()?.max_cost_per_day_nano_usd
}

fn pin_request(task_type: &str, space: &str) -> PinSpaceRequest {
    PinSpaceRequest {
        agent_id: "docs".to_owned(),
        task_type: task_type.to_owned(),
        space_id: space.to_owned(),
        model: "m".to_owned(),
    }
}

#[tokio::test]
async fn a_subscriber_sees_the_state_and_then_every_change_of_every_replica() {
    let mut world = World::new().await;
    let admin = world.admin();
    world.replica.agents.put_agent(admin.request(limited("docs", 1))).await.unwrap();
    let mut second = Replica::start(&world.database, &world.clock, Settings::default()).await;
    let tasks = Tasks::new();
    let all = [Section::Keys, Section::Agents, Section::Catalog, Section::Pins];
    let subscription = subscribe(&second, &all, &tasks);
    until(&subscription, "the first state", |s| {
        s.models().count() == shipped().len() && limit(s, &world, "docs") == Some(1)
    })
    .await;
    let key = subscription.current().key(world.first.admin.id()).cloned().unwrap();
    assert_eq!(key.hash, world.first.admin.hash());
    assert_eq!(key.principal.tenant, world.first.tenant);

    // here and there
    world.replica.agents.put_agent(admin.request(limited("docs", 2))).await.unwrap();
    until(&subscription, "a change of the other replica", |s| limit(s, &world, "docs") == Some(2)).await;
    second.agents.put_agent(admin.request(limited("docs", 3))).await.unwrap();
    until(&subscription, "a change of this replica", |s| limit(s, &world, "docs") == Some(3)).await;

    let made = CreateKeyRequest { name: "x".to_owned(), ..CreateKeyRequest::default() };
    let made = second.keys.create_key(admin.request(made)).await.unwrap().into_inner();
    let id = made.id.parse().unwrap();
    until(&subscription, "a new key", |s| s.key(&id).is_some_and(|key| !key.revoked)).await;
    world.replica.keys.revoke_key(admin.request(RevokeKeyRequest { id: made.id })).await.unwrap();
    until(&subscription, "its revocation", |s| s.key(&id).is_none_or(|key| key.revoked)).await;

    let pin = pin_request("research", "acme/x@8");
    second.config.pin_space(admin.request(pin)).await.unwrap();
    let agent: AgentId = "docs".parse().unwrap();
    until(&subscription, "a pin", |s| s.pin(world.first.tenant, &agent, "research").is_some()).await;
    let delete = DeleteAgentRequest { agent_id: "docs".to_owned() };
    second.agents.delete_agent(admin.request(delete)).await.unwrap();
    until(&subscription, "a deletion", |s| limit(s, &world, "docs").is_none()).await;
    assert!(subscription.current().pin(world.first.tenant, &agent, "research").is_some());
}

#[tokio::test]
async fn a_subscriber_is_told_its_sections_and_no_others() {
    let mut world = World::new().await;
    let admin = world.admin();
    let request = SubscribeRequest { sections: vec![Section::Agents.into()], subscriber: "test".to_owned() };
    let mut stream = world.replica.config.subscribe(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert!(first.snapshot && first.entries.is_empty());
    let made = CreateKeyRequest { name: "x".to_owned(), ..CreateKeyRequest::default() };
    world.replica.keys.create_key(admin.request(made)).await.unwrap();
    world.replica.agents.put_agent(admin.request(limited("docs", 1))).await.unwrap();
    let update = loop {
        let update: ConfigUpdate = stream.message().await.unwrap().unwrap();
        if !update.entries.is_empty() {
            break update;
        }
        assert_eq!(update.version, first.version);
    };
    assert!(!update.snapshot && update.version > first.version);
    assert!(update.entries.iter().all(|entry| matches!(entry.value, Some(Value::Agent(_)))));
    let nothing = SubscribeRequest { sections: vec![], subscriber: "test".to_owned() };
    assert_eq!(refused(world.replica.config.subscribe(nothing).await).param.as_deref(), Some("sections"));
}

#[tokio::test]
async fn the_answer_to_a_change_names_the_version_that_holds_it() {
    let mut world = World::new().await;
    let admin = world.admin();
    let tasks = Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::Keys, Section::Agents, Section::Catalog], &tasks);
    let made = CreateKeyRequest { name: "x".to_owned(), ..CreateKeyRequest::default() };
    let made = world.replica.keys.create_key(admin.request(made)).await.unwrap();
    let revoke = RevokeKeyRequest { id: made.get_ref().id.clone() };
    let revoked = world.replica.keys.revoke_key(admin.request(revoke)).await.unwrap();
    let agent = world.replica.agents.put_agent(admin.request(limited("docs", 1))).await.unwrap();
    let same = world.replica.agents.put_agent(admin.request(limited("docs", 1))).await.unwrap();
    // a subscriber of other sections is not told of a pin, and must not be made to wait for its version
    world.replica.config.pin_space(admin.request(pin_request("research", "acme/x@8"))).await.unwrap();
    let delete = DeleteAgentRequest { agent_id: "docs".to_owned() };
    let deleted = world.replica.agents.delete_agent(admin.request(delete)).await.unwrap();
    let price = AddPriceRequest {
        id: "text-embedding-3-small".to_owned(),
        per_million_tokens_nano_usd: Some(1),
        ..AddPriceRequest::default()
    };
    let priced = world.replica.catalog.add_price(admin.request(price)).await.unwrap();
    assert!(!same.metadata().contains_key(CONFIG_VERSION), "nothing was changed");
    let mut last = 0;
    for metadata in
        [made.metadata(), revoked.metadata(), agent.metadata(), deleted.metadata(), priced.metadata()]
    {
        let version: i64 = metadata.get(CONFIG_VERSION).unwrap().to_str().unwrap().parse().unwrap();
        assert!(version > last, "{version} after {last}");
        last = version;
    }
    until(&subscription, "the version of the last change", |s| s.version >= last).await;
    assert_eq!(subscription.current().version, last);
}

#[tokio::test]
async fn of_many_pins_at_once_the_first_wins_and_all_are_told_so() {
    let world = World::new().await;
    let second = Replica::start(&world.database, &world.clock, Settings::default()).await;
    let admin = world.admin();
    let mut pins = tokio::task::JoinSet::new();
    for n in 1..=32 {
        let mut config = if n % 2 == 0 { world.replica.config.clone() } else { second.config.clone() };
        let request = admin.request(pin_request("general_qa", &format!("acme/x@{n}")));
        pins.spawn(async move { config.pin_space(request).await.unwrap().into_inner().space_id });
    }
    let mut spaces = pins.join_all().await;
    spaces.dedup();
    assert_eq!(spaces.len(), 1, "{spaces:?}");
}

#[tokio::test]
async fn changes_made_at_once_all_arrive() {
    let world = World::new().await;
    let second = Replica::start(&world.database, &world.clock, Settings::default()).await;
    let admin = world.admin();
    let tasks = Tasks::new();
    let subscription = subscribe(&second, &[Section::Agents], &tasks);
    let mut puts = tokio::task::JoinSet::new();
    for n in 0..40 {
        let mut agents = if n % 2 == 0 { world.replica.agents.clone() } else { second.agents.clone() };
        let request = admin.request(limited(&format!("agent-{n}"), n));
        puts.spawn(async move { agents.put_agent(request).await.unwrap() });
    }
    puts.join_all().await;
    until(&subscription, "40 agents", |s| {
        (0..40).all(|n| limit(s, &world, &format!("agent-{n}")) == Some(n))
    })
    .await;
}

#[tokio::test]
async fn stopping_ends_the_streams() {
    let mut world = World::new().await;
    let request = SubscribeRequest { sections: vec![Section::Keys.into()], subscriber: "test".to_owned() };
    let mut stream = world.replica.config.subscribe(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    world.replica.tasks.stop();
    while stream.message().await.unwrap().is_some() {}
    world.replica.tasks.finished().await;
}
