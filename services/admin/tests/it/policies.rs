use embermesh_admin::Settings;
use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    internal::v1::Section,
    v1::{AgentInput, DeletePiiPolicyRequest, GetPiiPolicyRequest, PiiPolicy, PiiPolicyInput, PiiSettings},
};
use embermesh_transport::CallContext;

use crate::{
    subscriber::{subscribe, until},
    world::{World, context, refused},
};

fn input(text: &str) -> PiiPolicyInput {
    serde_json::from_str(text).unwrap()
}

const BADGES: &str =
    r#"{"action": "reject", "patterns": [{"badge": "B-[0-9]{5}"}], "actions": {"email": "detect"}}"#;

async fn put(world: &mut World, by: &CallContext, text: &str) -> PiiPolicy {
    world.replica.policies.put_pii_policy(by.request(input(text))).await.unwrap().into_inner()
}

fn agent(entities: &[&str]) -> AgentInput {
    let entities = entities.iter().map(|name| (*name).to_owned()).collect();
    AgentInput {
        agent_id: "docs".to_owned(),
        pii: Some(PiiSettings { action: None, entities }),
        ..AgentInput::default()
    }
}

#[tokio::test]
async fn a_policy_is_made_read_replaced_and_removed() {
    let mut world = World::new().await;
    let admin = world.admin();
    let get = GetPiiPolicyRequest {};
    assert_eq!(refused(world.replica.policies.get_pii_policy(admin.request(get)).await).code, Code::NotFound);
    let made =
        world.replica.policies.create_pii_policy(admin.request(input(BADGES))).await.unwrap().into_inner();
    assert_eq!((made.version, made.enabled, made.action.as_str()), (1, true, "reject"));
    assert_eq!(made.patterns[0].regex, "B-[0-9]{5}");
    let read = world.replica.policies.get_pii_policy(admin.request(get)).await.unwrap().into_inner();
    assert_eq!(read, made);
    let again = refused(world.replica.policies.create_pii_policy(admin.request(input(BADGES))).await);
    assert_eq!(again.code, Code::Conflict);
    // the same again is no change; another one replaces it as a whole
    assert_eq!(put(&mut world, &admin, BADGES).await, made);
    let off = put(&mut world, &admin, r#"{"enabled": false, "version": 1}"#).await;
    assert_eq!((off.version, off.enabled, off.action.as_str(), off.patterns.len()), (2, false, "redact", 0));
    let stale = PiiPolicyInput { version: Some(1), ..input(BADGES) };
    let stale = refused(world.replica.policies.put_pii_policy(admin.request(stale)).await);
    assert_eq!((stale.code, stale.param.as_deref()), (Code::Conflict, Some("version")));
    let gone = DeletePiiPolicyRequest { version: Some(2) };
    world.replica.policies.delete_pii_policy(admin.request(gone)).await.unwrap();
    let gone = refused(world.replica.policies.delete_pii_policy(admin.request(gone)).await);
    assert_eq!(gone.code, Code::NotFound);
}

#[tokio::test]
async fn a_policy_that_cannot_be_enforced_or_can_be_slow_leaves_the_old_one() {
    let mut world = World::new().await;
    let admin = world.admin();
    let held = put(&mut world, &admin, BADGES).await;
    for (bad, says) in [
        (r#"{"patterns": [{"badge": "B-("}]}"#, "unclosed group"),
        (r#"{"patterns": [{"badge": "[A-Z].*z|[A-Z]"}]}"#, "without end"),
        (r#"{"patterns": [{"badge": "(\\w{500}){500}"}]}"#, "shorten"),
        (r#"{"entities": ["iban"]}"#, "iban"),
    ] {
        let error = refused(world.replica.policies.put_pii_policy(admin.request(input(bad))).await);
        assert_eq!(error.code, Code::Invalid, "{bad}");
        assert!(error.message.contains(says), "{bad}: {error}");
    }
    let read = world.replica.policies.get_pii_policy(admin.request(GetPiiPolicyRequest {})).await;
    assert_eq!(read.unwrap().into_inner(), held);
}

#[tokio::test]
async fn an_agent_may_list_what_its_tenants_policy_and_the_installation_know_and_holds_on_to_it() {
    let settings = Settings { pii_entities: vec!["staff".to_owned()], ..Settings::default() };
    let mut world = World::with(settings).await;
    let admin = world.admin();
    let list = async |world: &mut World, entities: &[&str]| {
        world.replica.agents.put_agent(admin.request(agent(entities))).await.map(drop)
    };
    assert_eq!(refused(list(&mut world, &["badge"]).await).param.as_deref(), Some("pii.entities[0]"));
    list(&mut world, &["staff"]).await.unwrap();
    put(&mut world, &admin, BADGES).await;
    list(&mut world, &["badge", "staff", "ssn"]).await.unwrap();
    for attempt in [
        world.replica.policies.put_pii_policy(admin.request(input("{}"))).await.map(drop),
        world
            .replica
            .policies
            .delete_pii_policy(admin.request(DeletePiiPolicyRequest::default()))
            .await
            .map(drop),
    ] {
        let error = refused(attempt);
        assert_eq!(error.code, Code::Conflict);
        assert!(error.message.contains("docs"), "{error}");
    }
    list(&mut world, &["staff"]).await.unwrap();
    put(&mut world, &admin, r#"{"entities": ["staff", "email"]}"#).await;
    world.replica.policies.delete_pii_policy(admin.request(DeletePiiPolicyRequest::default())).await.unwrap();
}

#[tokio::test]
async fn a_policy_is_its_tenants_alone_and_reaches_subscribers() {
    let mut world = World::new().await;
    let (admin, other) = (world.admin(), world.other_tenant().await);
    let (tenant, theirs) = (world.first.tenant, other.principal.tenant);
    let tasks = Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::Policies], &tasks);
    put(&mut world, &admin, BADGES).await;
    until(&subscription, "the policy", |s| s.pii_policy(tenant).is_some_and(|p| p.action == "reject")).await;
    assert!(subscription.current().pii_policy(theirs).is_none());
    let get = GetPiiPolicyRequest {};
    assert_eq!(refused(world.replica.policies.get_pii_policy(other.request(get)).await).code, Code::NotFound);
    let own = put(&mut world, &other, r#"{"action": "off"}"#).await;
    assert_eq!(own.version, 1);
    until(&subscription, "the other", |s| s.pii_policy(theirs).is_some_and(|p| p.action == "off")).await;
    let gone = DeletePiiPolicyRequest::default();
    world.replica.policies.delete_pii_policy(admin.request(gone)).await.unwrap();
    until(&subscription, "the removal", |s| s.pii_policy(tenant).is_none()).await;
    assert!(subscription.current().pii_policy(theirs).is_some());
    let reader = context(tenant, None, &["read", "embed"]);
    let refusals = [
        refused(world.replica.policies.get_pii_policy(reader.request(get)).await),
        refused(world.replica.policies.put_pii_policy(reader.request(input("{}"))).await),
        refused(world.replica.policies.create_pii_policy(reader.request(input("{}"))).await),
        refused(world.replica.policies.delete_pii_policy(reader.request(gone)).await),
    ];
    assert!(refusals.iter().all(|error| error.code == Code::Forbidden), "{refusals:?}");
}
