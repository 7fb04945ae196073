//! Earlier configurations: listed, and put in force again.

use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_postgres::{Database, PoolConfig, Role, Schema};
use embermesh_proto::{
    internal::v1::Section,
    v1::{
        Agent, AgentInput, AgentVersion, CacheSettings, Constraints, DeleteAgentRequest, GetAgentRequest,
        ListAgentVersionsRequest, ListAgentVersionsResponse, ListAuditRecordsRequest, ModelPreference,
        RollbackAgentRequest,
    },
};
use embermesh_transport::CallContext;
use serde_json::{Value, json};

use crate::{
    audit::audit,
    subscriber::{subscribe, until},
    world::{World, context, refused},
};

fn strategy(name: &str) -> AgentInput {
    AgentInput {
        agent_id: "docs".to_owned(),
        embedding_strategy: Some(name.to_owned()),
        ..AgentInput::default()
    }
}

fn cached(ttl: &str) -> AgentInput {
    let cache = CacheSettings { enabled: None, ttl: Some(ttl.to_owned()) };
    AgentInput { agent_id: "docs".to_owned(), cache: Some(cache), ..AgentInput::default() }
}

async fn put(world: &mut World, by: &CallContext, input: AgentInput) -> Agent {
    world.replica.agents.put_agent(by.request(input)).await.unwrap().into_inner()
}

async fn delete(world: &mut World, by: &CallContext) {
    let request = DeleteAgentRequest { agent_id: "docs".to_owned() };
    world.replica.agents.delete_agent(by.request(request)).await.unwrap();
}

fn to(to_version: Option<i64>) -> RollbackAgentRequest {
    RollbackAgentRequest { agent_id: "docs".to_owned(), to_version, version: None }
}

async fn roll_back(
    world: &mut World,
    by: &CallContext,
    request: RollbackAgentRequest,
) -> Result<Agent, tonic::Status> {
    world.replica.agents.rollback_agent(by.request(request)).await.map(tonic::Response::into_inner)
}

fn page(agent_id: &str, page_size: Option<u32>, page_token: Option<String>) -> ListAgentVersionsRequest {
    ListAgentVersionsRequest { agent_id: agent_id.to_owned(), page_size, page_token }
}

async fn list(
    world: &mut World,
    by: &CallContext,
    request: ListAgentVersionsRequest,
) -> Result<ListAgentVersionsResponse, tonic::Status> {
    world.replica.agents.list_agent_versions(by.request(request)).await.map(tonic::Response::into_inner)
}

async fn history(world: &mut World, by: &CallContext) -> Vec<AgentVersion> {
    list(world, by, page("docs", None, None)).await.unwrap().versions
}

/// What the agent is set to, whenever and under whichever version.
fn settings(agent: &Agent) -> Agent {
    Agent { version: 0, created_at: None, updated_at: None, ..agent.clone() }
}

#[tokio::test]
async fn the_history_has_every_configuration_and_deletion_newest_first() {
    let mut world = World::new().await;
    let admin = world.admin();
    assert_eq!(history(&mut world, &admin).await, []);
    let first = put(&mut world, &admin, strategy("cost")).await;
    world.clock.advance(std::time::Duration::from_micros(61_000_001));
    let second = put(&mut world, &admin, cached("15m")).await;
    delete(&mut world, &admin).await;
    world.clock.advance(std::time::Duration::from_secs(60));
    let fourth = put(&mut world, &admin, strategy("speed")).await;

    let versions = history(&mut world, &admin).await;
    assert_eq!(versions.iter().map(|one| one.version).collect::<Vec<_>>(), [4, 3, 2, 1]);
    assert_eq!(versions.iter().map(|one| one.deleted).collect::<Vec<_>>(), [false, true, false, false]);
    let agents: Vec<_> = versions.iter().map(|one| one.agent.clone()).collect();
    assert_eq!(agents, [Some(fourth), None, Some(second.clone()), Some(first)]);
    assert!(versions.iter().all(|one| one.changed_by == admin.principal.key.as_str()));
    assert_eq!((versions[1].changed_at, versions[2].changed_at), (second.updated_at, second.updated_at));
}

#[tokio::test]
async fn the_history_comes_in_pages_of_one_agent() {
    let mut world = World::new().await;
    let admin = world.admin();
    for n in 1..=7 {
        put(&mut world, &admin, cached(&format!("{n}m"))).await;
    }
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let listed = list(&mut world, &admin, page("docs", Some(3), token)).await.unwrap();
        assert!(listed.versions.len() <= 3);
        seen.extend(listed.versions.iter().map(|one| one.version));
        let Some(next) = listed.next_page_token else { break };
        let elsewhere = list(&mut world, &admin, page("code", Some(3), Some(next.clone()))).await;
        assert_eq!(refused(elsewhere).param.as_deref(), Some("page_token"));
        token = Some(next);
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_rollback_puts_the_version_before_in_force_as_a_whole() {
    let mut world = World::new().await;
    let admin = world.admin();
    let tasks = Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::Agents], &tasks);
    let first = put(&mut world, &admin, strategy("cost")).await;
    let second = put(&mut world, &admin, AgentInput { metadata: "{}".to_owned(), ..cached("1h") }).await;
    world.clock.advance(std::time::Duration::from_secs(60));

    let back = roll_back(&mut world, &admin, to(None)).await.unwrap();
    assert_eq!((back.version, settings(&back)), (3, settings(&first)));
    assert_eq!(back.created_at, first.created_at);
    assert_ne!(back.updated_at, second.updated_at);
    let get = GetAgentRequest { agent_id: "docs".to_owned() };
    let read = world.replica.agents.get_agent(admin.request(get)).await.unwrap().into_inner();
    assert_eq!(read, back);
    let (tenant, id) = (world.first.tenant, "docs".parse().unwrap());
    until(&subscription, "the rollback", |s| s.agent(tenant, &id).is_some_and(|agent| **agent == back)).await;

    // a rollback is a change like another: the version before it is the second one
    let forth = roll_back(&mut world, &admin, to(None)).await.unwrap();
    assert_eq!((forth.version, settings(&forth)), (4, settings(&second)));
    let named = roll_back(&mut world, &admin, to(Some(1))).await.unwrap();
    assert_eq!((named.version, settings(&named)), (5, settings(&first)));
    // what is in force already makes no version
    assert_eq!(roll_back(&mut world, &admin, to(Some(3))).await.unwrap(), named);
    assert_eq!(history(&mut world, &admin).await.len(), 5);
}

#[tokio::test]
async fn a_deleted_agent_comes_back_as_it_last_was() {
    let mut world = World::new().await;
    let admin = world.admin();
    put(&mut world, &admin, strategy("cost")).await;
    let last = put(&mut world, &admin, strategy("speed")).await;
    delete(&mut world, &admin).await;
    let back = roll_back(&mut world, &admin, to(None)).await.unwrap();
    assert_eq!((back.version, settings(&back)), (4, settings(&last)));
    delete(&mut world, &admin).await;
    let named = roll_back(&mut world, &admin, to(Some(1))).await.unwrap();
    assert_eq!((named.version, named.embedding_strategy.as_deref()), (6, Some("cost")));
}

#[tokio::test]
async fn a_rollback_that_leads_nowhere_is_refused_and_changes_nothing() {
    let mut world = World::new().await;
    let admin = world.admin();
    let attempt = async |world: &mut World, request| {
        let error = refused(roll_back(world, &admin, request).await);
        (error.code, error.param.unwrap_or_default())
    };
    let param = str::to_owned;
    assert_eq!(attempt(&mut world, to(None)).await, (Code::NotFound, param("agent_id")));
    assert_eq!(attempt(&mut world, to(Some(1))).await, (Code::NotFound, param("to_version")));
    put(&mut world, &admin, strategy("cost")).await;
    assert_eq!(attempt(&mut world, to(None)).await, (Code::NotFound, param("to_version")));
    delete(&mut world, &admin).await;
    let third = put(&mut world, &admin, strategy("speed")).await;
    for unknown in [-1, 0, 4, i64::MAX] {
        assert_eq!(attempt(&mut world, to(Some(unknown))).await, (Code::NotFound, param("to_version")));
    }
    // the version before is the deletion
    for deleted in [None, Some(2)] {
        assert_eq!(attempt(&mut world, to(deleted)).await, (Code::Conflict, param("to_version")));
    }
    let stale = RollbackAgentRequest { version: Some(1), ..to(Some(1)) };
    assert_eq!(attempt(&mut world, stale).await, (Code::Conflict, param("version")));
    assert_eq!(history(&mut world, &admin).await.len(), 3);
    let fresh = RollbackAgentRequest { version: Some(3), ..to(Some(1)) };
    assert_eq!(roll_back(&mut world, &admin, fresh).await.unwrap().version, third.version + 1);
}

#[tokio::test]
async fn a_model_that_has_left_the_catalog_is_not_rolled_back_to() {
    let mut world = World::new().await;
    let admin = world.admin();
    let preference = ModelPreference {
        task_type: "general_qa".to_owned(),
        primary_models: vec!["text-embedding-3-small".to_owned()],
        fallback_models: vec!["text-embedding-3-large".to_owned()],
    };
    put(&mut world, &admin, AgentInput { model_preferences: vec![preference], ..strategy("cost") }).await;
    let clear = vec!["model_preferences".to_owned()];
    let second = put(&mut world, &admin, AgentInput { clear, ..strategy("cost") }).await;
    assert_eq!((second.version, second.model_preferences.len()), (2, 0));
    let (schema, role) = (Schema::Admin, Role::Owner);
    let owner = Database::connect(world.database.url(), schema, role, &PoolConfig::default()).await.unwrap();
    for sql in ["DELETE FROM prices WHERE model_id = $1", "DELETE FROM models WHERE id = $1"] {
        assert!(owner.system().execute(sql, &[&"text-embedding-3-large"]).await.unwrap() > 0);
    }
    let error = refused(roll_back(&mut world, &admin, to(None)).await);
    assert_eq!(error.param.as_deref(), Some("model_preferences[0].fallback_models[0]"));
    assert_eq!((error.code, history(&mut world, &admin).await.len()), (Code::Invalid, 2));
}

#[tokio::test]
async fn only_those_who_may_see_an_agent_see_its_history() {
    let mut world = World::new().await;
    let admin = world.admin();
    put(&mut world, &admin, strategy("cost")).await;
    put(&mut world, &admin, strategy("speed")).await;
    let tenant = world.first.tenant;
    let own = context(tenant, Some("docs"), &["read"]);
    assert_eq!(history(&mut world, &own).await.len(), 2);
    assert_eq!(refused(roll_back(&mut world, &own, to(None)).await).code, Code::Forbidden);
    let bound = context(tenant, Some("code"), &["read"]);
    assert_eq!(refused(list(&mut world, &bound, page("docs", None, None)).await).code, Code::Forbidden);
    let embeds = context(tenant, None, &["embed", "search"]);
    assert_eq!(refused(list(&mut world, &embeds, page("docs", None, None)).await).code, Code::Forbidden);
    let stranger = world.other_tenant().await;
    assert_eq!(history(&mut world, &stranger).await, []);
    for version in [None, Some(1)] {
        assert_eq!(refused(roll_back(&mut world, &stranger, to(version)).await).code, Code::NotFound);
    }
    assert_eq!(history(&mut world, &admin).await.len(), 2);
}

#[tokio::test]
async fn what_is_cleared_is_gone_before_what_is_given_is_put_in() {
    let mut world = World::new().await;
    let admin = world.admin();
    let constraints = Constraints {
        max_cost_per_day_nano_usd: Some(7),
        max_latency_p99_ms: Some(300),
        ..Constraints::default()
    };
    let first = AgentInput { constraints: Some(constraints), ..cached("1h") };
    put(&mut world, &admin, first).await;
    let clear = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let change = AgentInput {
        clear: clear(&["constraints.max_cost_per_day", "cache.ttl", "metadata"]),
        embedding_strategy: None,
        ..strategy("cost")
    };
    let second = put(&mut world, &admin, change.clone()).await;
    let left = Constraints { max_latency_p99_ms: Some(300), ..Constraints::default() };
    assert_eq!((second.constraints, &second.cache), (Some(left), &None));
    // nothing is left to clear, so nothing changes; nor does it when nothing is given in the place of nothing
    let change = AgentInput { metadata: "{}".to_owned(), ..change };
    assert_eq!(put(&mut world, &admin, change).await, second);

    let given = Constraints { max_tokens_per_request: Some(9), ..Constraints::default() };
    let replaced =
        AgentInput { clear: clear(&["constraints"]), constraints: Some(given), ..strategy("cost") };
    assert_eq!(put(&mut world, &admin, replaced).await.constraints, Some(given));

    let unknown = AgentInput { clear: clear(&["constraint"]), ..strategy("speed") };
    let error = refused(world.replica.agents.put_agent(admin.request(unknown)).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("clear")));
    assert!(error.message.contains("constraints, constraints.max_cost_per_day"), "{}", error.message);
    assert_eq!(history(&mut world, &admin).await[0].version, 3);
}

#[tokio::test]
async fn every_change_is_recorded_with_the_names_of_what_it_changed_and_no_values() {
    let mut world = World::new().await;
    let admin = world.admin();
    let metadata = r#"{"note":"not for the record"}"#.to_owned();
    let first = AgentInput { metadata, ..strategy("cost") };
    world.replica.agents.create_agent(admin.request(first.clone())).await.unwrap();
    put(&mut world, &admin, cached("15m")).await;
    // what changes nothing, or is refused, leaves no record
    put(&mut world, &admin, cached("15m")).await;
    refused(world.replica.agents.create_agent(admin.request(first)).await);
    refused(roll_back(&mut world, &admin, to(Some(9))).await);
    roll_back(&mut world, &admin, to(Some(1))).await.unwrap();
    delete(&mut world, &admin).await;

    let request = ListAuditRecordsRequest { subject: Some("docs".to_owned()), ..Default::default() };
    let listed = audit(&world.replica).list_audit_records(admin.request(request)).await.unwrap();
    let mut records = listed.into_inner().records;
    records.reverse();
    let told: Vec<(&str, Value)> = records
        .iter()
        .map(|record| (record.action.as_str(), serde_json::from_str(&record.details).unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("agent.create", json!({"version": 1, "fields": ["embedding_strategy", "metadata"]})),
            ("agent.put", json!({"version": 2, "fields": ["cache"]})),
            ("agent.rollback", json!({"version": 3, "fields": ["cache"], "to_version": 1})),
            ("agent.delete", json!({"version": 4, "fields": ["embedding_strategy", "metadata"]})),
        ]
    );
    assert!(records.iter().all(|record| record.changed_by == admin.principal.key.as_str()));
}
