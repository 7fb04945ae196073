//! Who changed what: every change leaves a record, and each tenant reads its own.

use std::time::Duration;

use embermesh_errors::Code;
use embermesh_postgres::{Database, PoolConfig, Role, Schema};
use embermesh_proto::{
    internal::v1::{OrderBreakersRequest, PinSpaceRequest},
    v1::{
        AddPriceRequest, AgentInput, AuditRecord, AuditVerified, BudgetRule, CatalogModel, CreateKeyRequest,
        DeleteAgentRequest, ListAuditRecordsRequest, Price, RevokeKeyRequest, VerifyAuditRequest,
        audit_client::AuditClient,
    },
};
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, GrpcMetrics, Transport, in_process};
use serde_json::{Value, json};

use crate::{
    budgets::{budget, delete, limit, make},
    world::{NOON, Replica, START, World, context, refused},
};

pub(crate) fn audit(replica: &Replica) -> AuditClient<Transport> {
    let calls = GrpcMetrics::new(&Metrics::default()).unwrap();
    AuditClient::new(in_process(replica.service.audit_server(), &calls))
}

pub(crate) async fn verify(replica: &Replica, by: &CallContext) -> AuditVerified {
    audit(replica).verify_audit(by.request(VerifyAuditRequest {})).await.unwrap().into_inner()
}

/// Everything that a filter lets through, newest first.
async fn list(world: &World, by: &CallContext, filter: ListAuditRecordsRequest) -> Vec<AuditRecord> {
    let (mut records, mut page_token) = (Vec::new(), None);
    loop {
        let request = ListAuditRecordsRequest { page_size: Some(4), page_token, ..filter.clone() };
        let page = audit(&world.replica).list_audit_records(by.request(request)).await.unwrap().into_inner();
        records.extend(page.records);
        page_token = page.next_page_token;
        if page_token.is_none() {
            return records;
        }
    }
}

pub(crate) fn agent(id: &str, strategy: &str) -> AgentInput {
    let embedding_strategy = Some(strategy.to_owned());
    AgentInput { agent_id: id.to_owned(), embedding_strategy, ..AgentInput::default() }
}

pub(crate) fn model(id: &str) -> CatalogModel {
    CatalogModel {
        id: id.to_owned(),
        family: "acme/own".to_owned(),
        native_dimensions: 8,
        max_input_tokens: 512,
        max_batch: 16,
        tokenizer: "bytes".to_owned(),
        provider_kinds: vec!["openai".to_owned()],
        prices: vec![Price {
            per_million_tokens_nano_usd: Some(5),
            effective_from: Some((START + NOON).into()),
            source: "price list".to_owned(),
            ..Price::default()
        }],
        ..CatalogModel::default()
    }
}

pub(crate) fn order(action: &str, deployments: &[&str]) -> OrderBreakersRequest {
    let deployments = deployments.iter().map(|name| (*name).to_owned()).collect();
    OrderBreakersRequest { deployments, action: action.to_owned() }
}

#[tokio::test]
async fn every_kind_of_change_leaves_a_record_of_who_did_what_to_what() {
    let mut world = World::new().await;
    let admin = world.admin();
    let (first, tenant) = (world.first.admin.id().to_string(), world.first.tenant.to_string());
    let second = world.first.agent.id().to_string();
    world.clock.advance(Duration::from_secs(60));
    let replica = &mut world.replica;
    replica.agents.put_agent(admin.request(agent("docs", "cost"))).await.unwrap();
    // the same again is no change
    replica.agents.put_agent(admin.request(agent("docs", "cost"))).await.unwrap();
    let gone = DeleteAgentRequest { agent_id: "docs".to_owned() };
    replica.agents.delete_agent(admin.request(gone)).await.unwrap();
    let new = CreateKeyRequest { name: "ci".to_owned(), ..CreateKeyRequest::default() };
    let key = replica.keys.create_key(admin.request(new)).await.unwrap().into_inner();
    let revoke = RevokeKeyRequest { id: key.id.clone() };
    replica.keys.revoke_key(admin.request(revoke)).await.unwrap();
    let made: BudgetRule = make(replica, &admin, budget("agent", "docs", "day", 2_500_000_001)).await;
    replica.budgets.update_budget(admin.request(limit(&made.id, 7))).await.unwrap();
    replica.budgets.delete_budget(admin.request(delete(&made.id))).await.unwrap();
    replica.catalog.create_catalog_model(admin.request(model("own-model"))).await.unwrap();
    let price = AddPriceRequest {
        id: "own-model".to_owned(),
        per_million_tokens_nano_usd: Some(1),
        source: "contract".to_owned(),
        ..AddPriceRequest::default()
    };
    replica.catalog.add_price(admin.request(price)).await.unwrap();
    replica.config.order_breakers(admin.request(order("force_open", &["a/m", "b/m"]))).await.unwrap();
    let pin = PinSpaceRequest {
        agent_id: "docs".to_owned(),
        task_type: "general_qa".to_owned(),
        space_id: "acme/x@2".to_owned(),
        model: "x".to_owned(),
    };
    let embeds = context(world.first.tenant, None, &["embed"]);
    replica.config.pin_space(embeds.request(pin.clone())).await.unwrap();
    replica.config.pin_space(embeds.request(pin)).await.unwrap();

    let mut records = list(&world, &admin, ListAuditRecordsRequest::default()).await;
    records.reverse();
    let seen: Vec<(i64, &str, &str, &str)> = records
        .iter()
        .map(|record| (record.number, &*record.changed_by, &*record.action, &*record.subject))
        .collect();
    let (system, by) = ("embermesh-system", admin.principal.key.as_str());
    let expected = [
        (system, "tenant.create", tenant.as_str()),
        (system, "key.create", &first),
        (system, "key.create", &second),
        (by, "agent.put", "docs"),
        (by, "agent.delete", "docs"),
        (by, "key.create", &key.id),
        (by, "key.revoke", &key.id),
        (by, "budget.create", &made.id),
        (by, "budget.update", &made.id),
        (by, "budget.delete", &made.id),
        (by, "model.create", "own-model"),
        (by, "price.add", "own-model"),
        (by, "breaker.force_open", "a/m"),
        (by, "breaker.force_open", "b/m"),
        (system, "pin.create", "docs"),
    ];
    let expected: Vec<_> = (1..).zip(expected).map(|(n, (by, action, on))| (n, by, action, on)).collect();
    assert_eq!(seen, expected);
    assert!(records.iter().all(|record| record.hash.len() == 64));
    let details = |at: usize| serde_json::from_str::<Value>(&records[at].details).unwrap();
    assert_eq!(details(7)["limit_usd"], "2.500000001");
    assert_eq!(
        (&details(8)["before"]["limit_usd"], &details(8)["now"]["limit_usd"]),
        (&json!("2.500000001"), &json!("0.000000007"))
    );
    assert_eq!(details(11)["per_million_tokens_usd"], "0.000000001");
    assert_eq!(details(14)["space_id"], "acme/x@2");
    // neither the key nor what is kept of it
    let all = format!("{records:?}");
    let secret = &key.key[key.key.find(&key.id).unwrap() + key.id.len() + 1..];
    assert!(!all.contains(&key.key) && !all.contains(&secret[..20]), "{all}");
}

#[tokio::test]
async fn records_are_filtered_paged_newest_first_and_read_by_admins_alone() {
    let mut world = World::new().await;
    let admin = world.admin();
    for n in 0..9_u64 {
        world.clock.advance(Duration::from_secs(60));
        let strategy = if n % 2 == 0 { "cost" } else { "speed" };
        let input = agent(if n < 6 { "docs" } else { "code" }, strategy);
        world.replica.agents.put_agent(admin.request(input)).await.unwrap();
    }
    let numbers = |records: Vec<AuditRecord>| records.iter().map(|r| r.number).collect::<Vec<_>>();
    let all = ListAuditRecordsRequest::default();
    assert_eq!(numbers(list(&world, &admin, all.clone()).await), (1..=12).rev().collect::<Vec<_>>());
    let of = ListAuditRecordsRequest { subject: Some("code".to_owned()), ..all.clone() };
    assert_eq!(numbers(list(&world, &admin, of).await), [12, 11, 10]);
    let action = ListAuditRecordsRequest { action: Some("key.create".to_owned()), ..all.clone() };
    assert_eq!(numbers(list(&world, &admin, action).await), [3, 2]);
    let at = |minutes: u64| Some((START + NOON + Duration::from_secs(60 * minutes)).into());
    let between = ListAuditRecordsRequest { from: at(2), to: at(4), ..all.clone() };
    assert_eq!(numbers(list(&world, &admin, between).await), [6, 5]);

    for (param, bad) in [
        ("to", ListAuditRecordsRequest { from: at(2), to: at(1), ..all.clone() }),
        ("subject", ListAuditRecordsRequest { subject: Some("a\0".to_owned()), ..all.clone() }),
        ("page_token", ListAuditRecordsRequest { page_token: Some("x".to_owned()), ..all.clone() }),
    ] {
        let error = refused(audit(&world.replica).list_audit_records(admin.request(bad)).await);
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)));
    }
    let reader = context(world.first.tenant, None, &["read", "costs"]);
    let request = reader.request(all.clone());
    assert_eq!(refused(audit(&world.replica).list_audit_records(request).await).code, Code::Forbidden);
    let request = reader.request(VerifyAuditRequest {});
    assert_eq!(refused(audit(&world.replica).verify_audit(request).await).code, Code::Forbidden);

    let other = world.other_tenant().await;
    assert_eq!(list(&world, &other, all.clone()).await, []);
    world.replica.agents.put_agent(other.request(agent("docs", "cost"))).await.unwrap();
    assert_eq!(numbers(list(&world, &other, all).await), [1], "a chain of its own");
}

#[tokio::test]
async fn changes_of_many_through_several_replicas_are_one_chain_without_a_gap() {
    let world = World::new().await;
    let second = Replica::start(&world.database, &world.clock, embermesh_admin::Settings::default()).await;
    let admin = world.admin();
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..40 {
        let mut agents = if n % 2 == 0 { world.replica.agents.clone() } else { second.agents.clone() };
        let request = admin.request(agent(&format!("agent-{}", n % 7), ["cost", "speed", "quality"][n % 3]));
        calls.spawn(async move { agents.put_agent(request).await.unwrap() });
    }
    calls.join_all().await;
    let records = list(&world, &admin, ListAuditRecordsRequest::default()).await;
    let count = i64::try_from(records.len()).unwrap();
    assert!(count > 10);
    let numbers: Vec<i64> = records.iter().map(|record| record.number).collect();
    assert_eq!(numbers, (1..=count).rev().collect::<Vec<_>>());
    for replica in [&world.replica, &second] {
        let verified = verify(replica, &admin).await;
        assert!(verified.intact && verified.records > records.len() as u64, "{verified:?}");
        assert_eq!(verified.anchors, 0, "nobody has a key");
    }
}

/// As an operator would ask; the role's `search_path` finds the schema.
const SUSPICIOUS: &str = "
SELECT user_id,
       endpoint,
       COUNT(*) as request_count,
       SUM(cost_usd) as total_cost
FROM audit_logs
WHERE created_at > NOW() - INTERVAL '1 hour'
GROUP BY user_id, endpoint
HAVING COUNT(*) > 1000
   OR SUM(cost_usd) > 100";

#[tokio::test]
async fn operators_ask_the_view_for_suspicious_activity_in_sql() {
    let mut world = World::new().await;
    let admin = world.admin();
    let seconds = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().saturating_sub(NOON);
    world.clock.advance(seconds);
    for strategy in ["cost", "speed", "cost"] {
        world.replica.agents.put_agent(admin.request(agent("docs", strategy))).await.unwrap();
    }
    let pool = PoolConfig::default();
    let operator =
        Database::connect(world.database.url(), Schema::Admin, Role::Operator, &pool).await.unwrap();
    let asked = async |sql: &str| -> Vec<(String, String, i64)> {
        let rows = operator.system().query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get("user_id"), row.get("endpoint"), row.get("request_count"))).collect()
    };
    assert_eq!(asked(SUSPICIOUS).await, []);
    let few = SUSPICIOUS.replace("> 1000", "> 2");
    assert_eq!(asked(&few).await, [("testkey".to_owned(), "agent.put".to_owned(), 3)]);
    let application = Database::connect(world.database.url(), Schema::Admin, Role::App, &pool).await.unwrap();
    assert!(application.system().query(SUSPICIOUS, &[]).await.is_err());
}
