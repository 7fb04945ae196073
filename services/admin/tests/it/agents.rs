use embermesh_admin::Settings;
use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    internal::v1::{PinSpaceRequest, Section},
    v1::{
        Agent, AgentInput, CacheSettings, Constraints, DeleteAgentRequest, FallbackBehavior,
        GetAgentModelsRequest, GetAgentRequest, ListAgentsRequest, ModelPreference, RateLimits,
    },
};
use embermesh_transport::CallContext;

use crate::{
    subscriber::{subscribe, until},
    world::{World, context, refused},
};

fn input(id: &str) -> AgentInput {
    AgentInput { agent_id: id.to_owned(), ..AgentInput::default() }
}

fn day_limit(id: &str, nanos: i64) -> AgentInput {
    let constraints = Constraints { max_cost_per_day_nano_usd: Some(nanos), ..Constraints::default() };
    AgentInput { constraints: Some(constraints), ..input(id) }
}

async fn put(world: &mut World, by: &CallContext, input: AgentInput) -> Agent {
    world.replica.agents.put_agent(by.request(input)).await.unwrap().into_inner()
}

fn get(by: &CallContext, id: &str) -> tonic::Request<GetAgentRequest> {
    by.request(GetAgentRequest { agent_id: id.to_owned() })
}

#[tokio::test]
async fn put_creates_then_merges_and_create_refuses_what_exists() {
    let mut world = World::new().await;
    let admin = world.admin();
    let metadata = r#"{"b": 1.50, "a": 12345678901234567890, "nul": "\u0000"}"#;
    let first =
        put(&mut world, &admin, AgentInput { metadata: metadata.to_owned(), ..day_limit("docs", 7) }).await;
    assert_eq!((first.version, first.metadata.as_str()), (1, metadata));
    world.clock.advance(std::time::Duration::from_secs(60));
    let speed = AgentInput { embedding_strategy: Some("speed".to_owned()), ..input("docs") };
    let second = put(&mut world, &admin, speed.clone()).await;
    assert_eq!(second.version, 2);
    assert_eq!(second.constraints, first.constraints);
    assert_eq!(second.metadata, metadata);
    assert_eq!(second.created_at, first.created_at);
    assert_ne!(second.updated_at, first.updated_at);
    // the same change again is no change
    assert_eq!(put(&mut world, &admin, speed).await, second);

    let error = refused(world.replica.agents.create_agent(admin.request(input("docs"))).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Conflict, Some("agent_id")));
    world.replica.agents.create_agent(admin.request(input("code"))).await.unwrap();
    let read = world.replica.agents.get_agent(get(&admin, "docs")).await.unwrap().into_inner();
    assert_eq!(read, second);
    assert_eq!(refused(world.replica.agents.get_agent(get(&admin, "none")).await).code, Code::NotFound);
}

#[tokio::test]
async fn a_change_from_an_old_version_is_a_conflict_that_tells_the_current_one() {
    let mut world = World::new().await;
    let admin = world.admin();
    put(&mut world, &admin, day_limit("docs", 1)).await;
    put(&mut world, &admin, AgentInput { version: Some(1), ..day_limit("docs", 2) }).await;
    let stale = AgentInput { version: Some(1), ..day_limit("docs", 3) };
    let error = refused(world.replica.agents.put_agent(admin.request(stale)).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Conflict, Some("version")));
    assert_eq!(error.details["current_version"], 2);

    let calls = (0..8).map(|n| {
        let mut agents = world.replica.agents.clone();
        let request = admin.request(AgentInput { version: Some(2), ..day_limit("docs", 10 + n) });
        async move { agents.put_agent(request).await.is_ok() }
    });
    let won = futures_join(calls).await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}

async fn futures_join<T>(calls: impl Iterator<Item = impl Future<Output = T> + Send + 'static>) -> Vec<T>
where
    T: Send + 'static,
{
    let mut set = tokio::task::JoinSet::new();
    calls.for_each(|call| drop(set.spawn(call)));
    set.join_all().await
}

#[tokio::test]
async fn impossible_configurations_are_refused_and_change_nothing() {
    let mut world = World::new().await;
    let admin = world.admin();
    let error = refused(world.replica.agents.put_agent(admin.request(day_limit("docs", -1))).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("constraints.max_cost_per_day")));
    for model in ["gone", "nul\0"] {
        let preference = ModelPreference {
            task_type: "x".to_owned(),
            primary_models: vec![model.to_owned()],
            ..Default::default()
        };
        let unknown = AgentInput { model_preferences: vec![preference], ..input("docs") };
        let error = refused(world.replica.agents.put_agent(admin.request(unknown)).await);
        assert_eq!(error.param.as_deref(), Some("model_preferences[0].primary_models[0]"), "{model:?}");
    }
    assert_eq!(refused(world.replica.agents.get_agent(get(&admin, "docs")).await).code, Code::NotFound);
}

#[tokio::test]
async fn versions_go_on_through_a_deletion_and_the_pin_stays() {
    let mut world = World::new().await;
    let admin = world.admin();
    put(&mut world, &admin, input("docs")).await;
    let pin = PinSpaceRequest {
        agent_id: "docs".to_owned(),
        task_type: "general_qa".to_owned(),
        space_id: "acme/x@8".to_owned(),
        model: "x".to_owned(),
    };
    world.replica.config.pin_space(admin.request(pin)).await.unwrap();
    let delete = || admin.request(DeleteAgentRequest { agent_id: "docs".to_owned() });
    world.replica.agents.delete_agent(delete()).await.unwrap();
    assert_eq!(refused(world.replica.agents.delete_agent(delete()).await).code, Code::NotFound);
    let models = GetAgentModelsRequest { agent_id: "docs".to_owned(), task_type: None };
    let models = world.replica.agents.get_agent_models(admin.request(models)).await.unwrap().into_inner();
    assert_eq!(models.pinned_space_id.as_deref(), Some("acme/x@8"));
    assert_eq!(put(&mut world, &admin, input("docs")).await.version, 3);
}

#[tokio::test]
async fn models_are_resolved_for_any_agent() {
    let defaults = vec!["all-MiniLM-L6-v2".to_owned()];
    let mut world = World::with(Settings { default_models: defaults.clone(), ..Settings::default() }).await;
    let admin = world.admin();
    let preference = ModelPreference {
        task_type: "research".to_owned(),
        primary_models: vec!["text-embedding-3-large".to_owned()],
        fallback_models: vec!["text-embedding-3-small".to_owned()],
    };
    put(&mut world, &admin, AgentInput { model_preferences: vec![preference], ..input("docs") }).await;
    let mut ask = async |agent: &str, task_type: &str| {
        let request =
            GetAgentModelsRequest { agent_id: agent.to_owned(), task_type: Some(task_type.to_owned()) };
        world.replica.agents.get_agent_models(admin.request(request)).await.unwrap().into_inner()
    };
    let research = ask("docs", "research").await;
    assert_eq!(research.primary_models, ["text-embedding-3-large"]);
    assert_eq!(research.fallback_models, ["text-embedding-3-small"]);
    assert_eq!(ask("docs", "multilingual").await.primary_models, defaults);
    assert_eq!(ask("never-seen", "research").await.primary_models, defaults);
}

#[tokio::test]
async fn an_agent_without_a_configuration_has_the_models_of_the_default_one() {
    let mut world =
        World::with(Settings { default_models: vec!["fixed".to_owned()], ..Settings::default() }).await;
    let admin = world.admin();
    let preferring = |id: &str, model: &str| {
        let (task_type, primary_models) = ("research".to_owned(), vec![model.to_owned()]);
        let preference = ModelPreference { task_type, primary_models, fallback_models: vec![] };
        AgentInput { model_preferences: vec![preference], ..input(id) }
    };
    put(&mut world, &admin, preferring("default", "text-embedding-3-small")).await;
    put(&mut world, &admin, preferring("own", "text-embedding-3-large")).await;
    // a configuration is taken as a whole, so this one has no preference
    put(&mut world, &admin, day_limit("limited", 5)).await;
    let stranger = world.other_tenant().await;
    let mut ask = async |by: &CallContext, agent: &str| {
        let request =
            GetAgentModelsRequest { agent_id: agent.to_owned(), task_type: Some("research".to_owned()) };
        world.replica.agents.get_agent_models(by.request(request)).await.unwrap().into_inner().primary_models
    };
    assert_eq!(ask(&admin, "never-seen").await, ["text-embedding-3-small"]);
    assert_eq!(ask(&admin, "default").await, ["text-embedding-3-small"]);
    assert_eq!(ask(&admin, "own").await, ["text-embedding-3-large"]);
    assert_eq!(ask(&admin, "limited").await, ["fixed"]);
    assert_eq!(ask(&stranger, "never-seen").await, ["fixed"]);
    let bound = context(world.first.tenant, Some("mine"), &["read"]);
    assert_eq!(ask(&bound, "mine").await, ["text-embedding-3-small"]);
    let missing = world.replica.agents.get_agent(get(&admin, "never-seen")).await;
    assert_eq!(refused(missing).code, Code::NotFound);
}

#[tokio::test]
async fn all_that_a_router_goes_by_is_kept_and_streamed() {
    let mut world = World::new().await;
    let admin = world.admin();
    let rate_limits = RateLimits {
        requests_per_minute: Some(60),
        tokens_per_minute: Some(100_000),
        concurrent_requests: Some(4),
    };
    let full = AgentInput {
        embedding_strategy: Some("speed".to_owned()),
        constraints: Some(Constraints {
            max_latency_p99_ms: Some(300),
            rate_limits: Some(rate_limits),
            ..Constraints::default()
        }),
        fallback_behavior: Some(FallbackBehavior {
            max_retries: Some(2),
            cross_space: Some("allow".to_owned()),
            use_cache_on_failure: Some(true),
            on_budget_exceeded: Some("cheaper".to_owned()),
        }),
        cache: Some(CacheSettings { enabled: Some(false), ttl: Some("15m".to_owned()) }),
        ..input("docs")
    };
    let made = put(&mut world, &admin, full.clone()).await;
    assert_eq!(made.embedding_strategy, full.embedding_strategy);
    assert_eq!(made.constraints, full.constraints);
    assert_eq!(made.fallback_behavior, full.fallback_behavior);
    assert_eq!(made.cache, full.cache);
    let tasks = Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::Agents], &tasks);
    let (tenant, id) = (world.first.tenant, "docs".parse().unwrap());
    until(&subscription, "the configuration", |s| s.agent(tenant, &id).is_some_and(|agent| **agent == made))
        .await;
}

#[tokio::test]
async fn a_key_of_one_agent_reads_that_agent_alone() {
    let mut world = World::new().await;
    let admin = world.admin();
    for id in ["a", "b", "c"] {
        put(&mut world, &admin, input(id)).await;
    }
    let bound = context(world.first.tenant, Some("b"), &["read"]);
    assert!(world.replica.agents.get_agent(get(&bound, "b")).await.is_ok());
    assert_eq!(refused(world.replica.agents.get_agent(get(&bound, "a")).await).code, Code::Forbidden);
    let list = world.replica.agents.list_agents(bound.request(ListAgentsRequest::default())).await.unwrap();
    let ids: Vec<String> = list.into_inner().agents.into_iter().map(|agent| agent.agent_id).collect();
    assert_eq!(ids, ["b"]);
    assert_eq!(
        refused(world.replica.agents.put_agent(bound.request(input("b"))).await).code,
        Code::Forbidden
    );
}

#[tokio::test]
async fn pages_hold_every_agent_once() {
    let mut world = World::new().await;
    let admin = world.admin();
    for n in 0..7 {
        put(&mut world, &admin, input(&format!("agent-{n}"))).await;
    }
    let (mut seen, mut page_token) = (Vec::new(), None);
    loop {
        let request = ListAgentsRequest { page_size: Some(3), page_token };
        let page = world.replica.agents.list_agents(admin.request(request)).await.unwrap().into_inner();
        assert!(page.agents.len() <= 3);
        seen.extend(page.agents.into_iter().map(|agent| agent.agent_id));
        page_token = page.next_page_token;
        if page_token.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..7).map(|n| format!("agent-{n}")).collect::<Vec<_>>());
    let request = ListAgentsRequest { page_size: None, page_token: Some("nonsense".to_owned()) };
    let error = refused(world.replica.agents.list_agents(admin.request(request)).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("page_token")));
}
