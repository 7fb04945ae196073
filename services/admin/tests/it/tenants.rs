use embermesh_auth::ApiKey;
use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    CONFIG_VERSION,
    internal::v1::Section,
    v1::{
        AgentInput, AuditRecord, CreateTenantRequest, CreatedTenant, DeleteTenantRequest,
        GetAgentModelsRequest, GetTenantRequest, ListAuditRecordsRequest, ListKeysRequest,
        ListTenantsRequest, ModelPreference, Quotas, Tenant, UpdateTenantRequest, VerifyAuditRequest,
        audit_client::AuditClient,
    },
};
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, GrpcMetrics, in_process};
use embermesh_types::TenantId;

use crate::{
    subscriber::{subscribe, until},
    world::{Replica, World, context, refused},
};

const SMALL: &str = "text-embedding-3-small";
const LARGE: &str = "text-embedding-3-large";

fn named(name: &str) -> CreateTenantRequest {
    CreateTenantRequest { name: name.to_owned(), ..CreateTenantRequest::default() }
}

async fn make(world: &mut World, request: CreateTenantRequest) -> CreatedTenant {
    let admin = world.admin();
    world.replica.tenants.create_tenant(admin.request(request)).await.unwrap().into_inner()
}

async fn get(world: &mut World, id: &str) -> Tenant {
    let request = world.admin().request(GetTenantRequest { id: id.to_owned() });
    world.replica.tenants.get_tenant(request).await.unwrap().into_inner()
}

fn update(id: &str) -> UpdateTenantRequest {
    UpdateTenantRequest { id: id.to_owned(), ..UpdateTenantRequest::default() }
}

fn of(made: &CreatedTenant) -> TenantId {
    made.id.parse().unwrap()
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// The audit chain that a caller sees, oldest first, after it has been verified.
async fn chain(replica: &Replica, by: &CallContext) -> Vec<AuditRecord> {
    let calls = GrpcMetrics::new(&Metrics::default()).unwrap();
    let mut audit = AuditClient::new(in_process(replica.service.audit_server(), &calls));
    let verified = audit.verify_audit(by.request(VerifyAuditRequest::default())).await.unwrap().into_inner();
    assert!(verified.intact, "{verified:?}");
    let listed = audit.list_audit_records(by.request(ListAuditRecordsRequest::default())).await.unwrap();
    let mut records = listed.into_inner().records;
    records.reverse();
    records
}

#[tokio::test]
async fn a_tenant_is_made_with_its_first_admin_key_read_changed_and_closed() {
    let mut world = World::new().await;
    let admin = world.admin();
    let made = make(&mut world, named("acme")).await;
    let key = ApiKey::parse(&made.admin_key).unwrap();
    assert_eq!(key.id().as_str(), made.admin_key_id);
    let theirs = context(of(&made), None, &["admin"]);
    let keys = world.replica.keys.list_keys(theirs.request(ListKeysRequest::default())).await.unwrap();
    let keys = keys.into_inner().keys;
    assert_eq!((keys.len(), &keys[0].id, &keys[0].scopes), (1, &made.admin_key_id, &ids(&["admin"])));

    let tenant = get(&mut world, &made.id).await;
    assert_eq!(
        (tenant.name.as_str(), tenant.version, tenant.operator, tenant.suspended),
        ("acme", 1, false, false)
    );
    let change = UpdateTenantRequest {
        name: Some("Acme Ltd".to_owned()),
        suspended: Some(true),
        allowed_models: ids(&[SMALL, LARGE]),
        default_models: ids(&[SMALL]),
        version: Some(1),
        ..update(&made.id)
    };
    let changed = world.replica.tenants.update_tenant(admin.request(change.clone())).await.unwrap();
    assert!(changed.metadata().contains_key(CONFIG_VERSION));
    let changed = changed.into_inner();
    assert_eq!(changed, get(&mut world, &made.id).await);
    assert_eq!((changed.version, changed.suspended, &changed.default_models), (2, true, &ids(&[SMALL])));
    let stale = refused(world.replica.tenants.update_tenant(admin.request(change.clone())).await);
    assert_eq!((stale.code, stale.param.as_deref()), (Code::Conflict, Some("version")));
    // the same again is no change
    let same = UpdateTenantRequest { version: None, ..change };
    let same = world.replica.tenants.update_tenant(admin.request(same)).await.unwrap().into_inner();
    assert_eq!(same, changed);

    let close = || DeleteTenantRequest { id: made.id.clone() };
    let closed = world.replica.tenants.delete_tenant(admin.request(close())).await.unwrap().into_inner();
    assert!(closed.closed_at.is_some() && closed.version == 3, "{closed:?}");
    let again = world.replica.tenants.delete_tenant(admin.request(close())).await.unwrap().into_inner();
    assert_eq!(again, closed);
    let keys = world.replica.keys.list_keys(theirs.request(ListKeysRequest::default())).await.unwrap();
    assert!(keys.into_inner().keys.iter().all(|key| key.revoked_at.is_some()));
    let late = refused(world.replica.tenants.update_tenant(admin.request(update(&made.id))).await);
    assert_eq!((late.code, late.param.as_deref()), (Code::Conflict, Some("id")));
    let name = refused(world.replica.tenants.create_tenant(admin.request(named("Acme Ltd"))).await);
    assert_eq!((name.code, name.param.as_deref()), (Code::Conflict, Some("name")));
}

#[tokio::test]
async fn every_change_is_in_the_chain_of_the_operator_and_in_that_of_the_tenant_without_the_key() {
    let mut world = World::new().await;
    let admin = world.admin();
    let made = make(&mut world, named("acme")).await;
    let suspend = UpdateTenantRequest { suspended: Some(true), ..update(&made.id) };
    world.replica.tenants.update_tenant(admin.request(suspend)).await.unwrap();
    let own =
        UpdateTenantRequest { name: Some("operators".to_owned()), ..update(&world.first.tenant.to_string()) };
    world.replica.tenants.update_tenant(admin.request(own)).await.unwrap();
    let close = DeleteTenantRequest { id: made.id.clone() };
    world.replica.tenants.delete_tenant(admin.request(close)).await.unwrap();
    let secret = made.admin_key.rsplit('_').nth(1).unwrap().to_owned();

    let theirs = context(of(&made), None, &["admin"]);
    let seen = |records: &[AuditRecord]| {
        let of_tenants = records.iter().filter(|record| record.changed_by == "testkey");
        of_tenants.map(|record| (record.action.clone(), record.subject.clone())).collect::<Vec<_>>()
    };
    let own = world.first.tenant.to_string();
    let (ours, of_theirs) = (chain(&world.replica, &admin).await, chain(&world.replica, &theirs).await);
    let step = |action: &str, id: &str| (action.to_owned(), id.to_owned());
    assert_eq!(
        seen(&ours),
        [
            step("tenant.create", &made.id),
            step("tenant.update", &made.id),
            step("tenant.update", &own),
            step("tenant.delete", &made.id)
        ]
    );
    let expected = ["tenant.create", "tenant.update", "tenant.delete"].map(|action| step(action, &made.id));
    assert_eq!(seen(&of_theirs), expected);
    assert!(ours.iter().chain(&of_theirs).all(|record| !format!("{record:?}").contains(&secret)));
}

#[tokio::test]
async fn the_operators_tenant_can_be_neither_suspended_nor_closed() {
    let mut world = World::new().await;
    let (admin, id) = (world.admin(), world.first.tenant.to_string());
    assert!(get(&mut world, &id).await.operator);
    let suspend = UpdateTenantRequest { suspended: Some(true), ..update(&id) };
    let error = refused(world.replica.tenants.update_tenant(admin.request(suspend)).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Conflict, Some("suspended")));
    let close = admin.request(DeleteTenantRequest { id: id.clone() });
    assert_eq!(refused(world.replica.tenants.delete_tenant(close).await).code, Code::Conflict);
    assert!(get(&mut world, &id).await.closed_at.is_none());
}

#[tokio::test]
async fn impossible_tenants_are_refused_by_field_and_are_not_there() {
    let mut world = World::new().await;
    let admin = world.admin();
    let unknown = CreateTenantRequest { allowed_models: ids(&[SMALL, "gpt-4"]), ..named("a") };
    let beyond =
        CreateTenantRequest { allowed_models: ids(&[SMALL]), default_models: ids(&[LARGE]), ..named("a") };
    for (param, request) in [
        ("name", named(" ")),
        ("name", named("a\nb")),
        ("allowed_models[1]", unknown),
        ("allowed_models[0]", CreateTenantRequest { allowed_models: ids(&["nul\0"]), ..named("a") }),
        ("default_models[0]", beyond),
    ] {
        let error = refused(world.replica.tenants.create_tenant(admin.request(request)).await);
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{error}");
    }
    let taken = refused(world.replica.tenants.create_tenant(admin.request(named("default"))).await);
    assert_eq!((taken.code, taken.param.as_deref()), (Code::Conflict, Some("name")));
    let made = make(&mut world, named("a")).await;
    let rename = UpdateTenantRequest { name: Some("default".to_owned()), ..update(&made.id) };
    let taken = refused(world.replica.tenants.update_tenant(admin.request(rename)).await);
    assert_eq!((taken.code, taken.param.as_deref()), (Code::Conflict, Some("name")));
    for id in ["no-uuid", "0192d5a0-0000-7000-8000-00000000dead", "nul\0"] {
        let error = refused(world.replica.tenants.update_tenant(admin.request(update(id))).await);
        assert_eq!(error.code, Code::NotFound, "{id}");
        let error = refused(
            world
                .replica
                .tenants
                .delete_tenant(admin.request(DeleteTenantRequest { id: id.to_owned() }))
                .await,
        );
        assert_eq!(error.code, Code::NotFound, "{id}");
    }
}

#[tokio::test]
async fn pages_hold_every_tenant_once() {
    let mut world = World::new().await;
    let admin = world.admin();
    let mut expected = vec![world.first.tenant.to_string()];
    for n in 0..7 {
        expected.push(make(&mut world, named(&format!("tenant {n}"))).await.id);
    }
    expected.sort();
    let (mut seen, mut page_token) = (Vec::new(), None);
    loop {
        let request = admin.request(ListTenantsRequest { page_size: Some(3), page_token });
        let page = world.replica.tenants.list_tenants(request).await.unwrap().into_inner();
        assert!(page.tenants.len() <= 3);
        seen.extend(page.tenants.into_iter().map(|tenant| tenant.id));
        page_token = page.next_page_token;
        if page_token.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_stream_tells_of_tenants_and_of_the_keys_of_closed_ones() {
    let mut world = World::new().await;
    let admin = world.admin();
    let tasks = Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::Keys, Section::Tenants], &tasks);
    let first = world.first.tenant;
    until(&subscription, "the operator", |s| s.is_operator(first)).await;
    let made = make(&mut world, CreateTenantRequest { allowed_models: ids(&[SMALL]), ..named("acme") }).await;
    let (tenant, key) = (of(&made), made.admin_key_id.parse().unwrap());
    until(&subscription, "the tenant", |s| s.tenant(tenant).is_some() && s.key(&key).is_some()).await;
    let state = subscription.current();
    assert!(!state.is_operator(tenant) && state.may_use(tenant, SMALL) && !state.may_use(tenant, LARGE));
    let suspend = UpdateTenantRequest { suspended: Some(true), ..update(&made.id) };
    world.replica.tenants.update_tenant(admin.request(suspend)).await.unwrap();
    until(&subscription, "the suspension", |s| s.tenant(tenant).is_some_and(|t| t.suspended)).await;
    let close = DeleteTenantRequest { id: made.id };
    world.replica.tenants.delete_tenant(admin.request(close)).await.unwrap();
    until(&subscription, "the closing", |s| {
        s.tenant(tenant).is_some_and(|t| t.closed) && s.key(&key).is_none_or(|key| key.revoked)
    })
    .await;
    // and to who asks only now
    let late = subscribe(&world.replica, &[Section::Tenants], &tasks);
    until(&late, "the state", |s| s.tenant(tenant).is_some_and(|t| t.closed)).await;
}

#[tokio::test]
async fn the_models_of_an_agent_are_those_of_its_tenant() {
    let mut world = World::new().await;
    let lists =
        CreateTenantRequest { allowed_models: ids(&[SMALL]), default_models: ids(&[SMALL]), ..named("acme") };
    let made = make(&mut world, lists).await;
    let theirs = context(of(&made), None, &["admin"]);
    let models = async |world: &mut World, agent: &str| {
        let request = GetAgentModelsRequest { agent_id: agent.to_owned(), task_type: None };
        world.replica.agents.get_agent_models(theirs.request(request)).await.unwrap().into_inner()
    };
    assert_eq!(models(&mut world, "new").await.primary_models, ids(&[SMALL]));
    // an agent may prefer what it may not use yet; it is skipped
    let preference = ModelPreference {
        task_type: "general_qa".to_owned(),
        primary_models: ids(&[LARGE]),
        fallback_models: ids(&[SMALL]),
    };
    let input = AgentInput {
        agent_id: "docs".to_owned(),
        model_preferences: vec![preference],
        ..AgentInput::default()
    };
    world.replica.agents.put_agent(theirs.request(input)).await.unwrap();
    let found = models(&mut world, "docs").await;
    assert_eq!((found.primary_models, found.fallback_models), (vec![], ids(&[SMALL])));
}

#[tokio::test]
async fn quotas_are_set_changed_and_taken_back_and_streamed() {
    let mut world = World::new().await;
    let admin = world.admin();
    let day = |requests| Quotas { requests_per_day: Some(requests), ..Quotas::default() };
    let made = make(&mut world, CreateTenantRequest { quotas: Some(day(5)), ..named("acme") }).await;
    assert_eq!(made.quotas, Some(day(5)));
    assert_eq!(get(&mut world, &made.id).await.quotas, Some(day(5)));
    let tasks = Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::Tenants], &tasks);
    let tenant = of(&made);
    until(&subscription, "the quota", |snapshot| snapshot.quotas(tenant) == Some(&day(5))).await;
    let more = Quotas { tokens_per_month: Some(0), ..day(7) };
    let change = UpdateTenantRequest { quotas: Some(more), ..update(&made.id) };
    let changed = world.replica.tenants.update_tenant(admin.request(change)).await.unwrap().into_inner();
    assert_eq!((changed.quotas, changed.version), (Some(more), 2));
    until(&subscription, "the change", |snapshot| snapshot.quotas(tenant) == Some(&more)).await;
    let clear = UpdateTenantRequest { clear: ids(&["quotas.tokens_per_month"]), ..update(&made.id) };
    let changed = world.replica.tenants.update_tenant(admin.request(clear)).await.unwrap().into_inner();
    assert_eq!(changed.quotas, Some(day(7)));
    let clear = UpdateTenantRequest { clear: ids(&["quotas"]), ..update(&made.id) };
    let changed = world.replica.tenants.update_tenant(admin.request(clear)).await.unwrap().into_inner();
    assert_eq!(changed.quotas, None);
    until(&subscription, "no quota", |snapshot| snapshot.quotas(tenant).is_none()).await;
    let large = UpdateTenantRequest { quotas: Some(day(u64::MAX)), ..update(&made.id) };
    let error = refused(world.replica.tenants.update_tenant(admin.request(large)).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("quotas.requests_per_day")));
    let records = chain(&world.replica, &admin).await;
    let changes = records.iter().filter(|record| record.action == "tenant.update").count();
    assert_eq!(changes, 3);
}
