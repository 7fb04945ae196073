use embermesh_proto::v1::{CreateBudgetRequest, ListBudgetsRequest, budgets_client::BudgetsClient};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::World;

const BUDGETS: &str = "/api/v1/admin/budgets";

fn refused(answer: (StatusCode, Value), status: u16, param: &str) -> Value {
    let (got, body) = answer;
    assert_eq!((got.as_u16(), &body["error"]["param"]), (status, &json!(param)), "{body}");
    body["error"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_made_read_changed_and_removed_over_rest() {
    let world = World::new().await;
    let key = world.keys.admin.reveal();
    let send = async |method: Method, path: &str, body: Value| world.send(key, method, path, body).await;
    let day = json!({"scope": "agent", "subject": "docs", "period": "day", "limit_usd": 12.000000001});
    let (status, made) = send(Method::POST, BUDGETS, day.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let path = format!("{BUDGETS}/{}", made["id"].as_str().unwrap());
    assert_eq!(made["limit_usd"].to_string(), "12.000000001", "exact to the nano-dollar");
    assert_eq!(
        (&made["scope"], &made["subject"], &made["period"]),
        (&json!("agent"), &json!("docs"), &json!("day"))
    );
    assert_eq!((&made["alert_percents"], &made["version"]), (&json!([50, 80, 100]), &json!(1)));
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'), "{made}");
    assert_eq!(send(Method::GET, &path, Value::Null).await, (StatusCode::OK, made.clone()));
    let listed = send(Method::GET, &format!("{BUDGETS}?page_size=10"), Value::Null).await.1;
    assert_eq!(listed["budgets"], json!([made]));

    let error = refused(send(Method::POST, BUDGETS, day).await, 409, "subject");
    assert_eq!(error["details"]["id"], made["id"]);
    let change = json!({"limit_usd": 20, "version": 1});
    let (status, raised) = send(Method::PUT, &path, change.clone()).await;
    assert_eq!((status, &raised["limit_usd"], &raised["version"]), (StatusCode::OK, &json!(20), &json!(2)));
    assert_eq!(raised["alert_percents"], made["alert_percents"]);
    let error = refused(send(Method::PUT, &path, change).await, 409, "version");
    assert_eq!(error["details"]["current_version"], 2);
    refused(send(Method::PUT, &path, json!({"period": "month"})).await, 400, "period");
    refused(send(Method::PUT, &path, json!({"limit_usd": -1})).await, 400, "limit_usd");
    refused(send(Method::PUT, &path, json!({"limit_usd": 0.0000000001})).await, 400, "limit_usd");

    assert_eq!(send(Method::DELETE, &path, Value::Null).await, (StatusCode::OK, json!({})));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        refused(send(method, &path, Value::Null).await, 404, "id");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn costs_reads_budgets_and_admin_alone_writes_them() {
    let world = World::new().await;
    let made = world.admin(BUDGETS, json!({"scope": "tenant", "period": "month", "limit_usd": 5})).await;
    let path = format!("{BUDGETS}/{}", made["id"].as_str().unwrap());
    let reader = world.admin("/api/v1/admin/keys", json!({"name": "reports", "scopes": ["costs"]})).await;
    let reader = reader["key"].as_str().unwrap();
    let agent = world.keys.agent.reveal();
    for (method, path, by_costs) in [
        (Method::GET, BUDGETS, StatusCode::OK),
        (Method::GET, &path, StatusCode::OK),
        (Method::POST, BUDGETS, StatusCode::FORBIDDEN),
        (Method::PUT, &path, StatusCode::FORBIDDEN),
        (Method::DELETE, &path, StatusCode::FORBIDDEN),
    ] {
        assert_eq!(
            world.send(reader, method.clone(), path, Value::Null).await.0,
            by_costs,
            "{method} {path}"
        );
        let (status, _) = world.send(agent, method.clone(), path, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_are_served_over_grpc_too() {
    let world = World::new().await;
    let mut budgets = BudgetsClient::new(world.channel().await);
    fn with_key<T>(world: &World, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("x-api-key", world.keys.admin.reveal().parse().unwrap());
        request
    }
    let request = CreateBudgetRequest {
        scope: "provider".to_owned(),
        subject: Some("openai".to_owned()),
        period: "request".to_owned(),
        limit_nano_usd: Some(3),
        alert_percents: vec![100],
    };
    let made = budgets.create_budget(with_key(&world, request)).await.unwrap().into_inner();
    let listed = budgets.list_budgets(with_key(&world, ListBudgetsRequest::default())).await.unwrap();
    assert_eq!(listed.into_inner().budgets, [made]);
    let keyless = budgets.list_budgets(ListBudgetsRequest::default()).await.unwrap_err();
    assert_eq!(keyless.code(), tonic::Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_known_here_as_soon_as_the_answer_says_so() {
    let world = World::new().await;
    let held = || -> Vec<i64> {
        world.subscription.current().all_budgets().map(|(_, budget)| budget.limit_nano_usd).collect()
    };
    for n in 1..=20 {
        let body = json!({"scope": "tenant", "period": "day", "limit_usd": n});
        let made = world.admin(BUDGETS, body).await;
        assert_eq!(held(), [n * 1_000_000_000]);
        let path = format!("{BUDGETS}/{}", made["id"].as_str().unwrap());
        world.send(world.keys.admin.reveal(), Method::DELETE, &path, Value::Null).await;
        assert!(held().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agents_own_limit_is_set_as_the_operations_guide_prints_it() {
    let world = World::new().await;
    let body = json!({"embedding_strategy": "quality", "constraints": {"max_cost_per_day": 150.0}});
    let path = "/api/v1/embeddings/agents/prod-agent";
    let (status, agent) = world.send(world.keys.admin.reveal(), Method::PUT, path, body).await;
    assert_eq!(status, StatusCode::OK, "{agent}");
    assert_eq!(agent["embedding_strategy"], "quality");
    assert_eq!(agent["constraints"], json!({"max_cost_per_day": 150}));
    // it is the agent's own, beside the budgets
    let listed = world.send(world.keys.admin.reveal(), Method::GET, BUDGETS, Value::Null).await.1;
    assert_eq!(listed["budgets"], json!([]));
}
