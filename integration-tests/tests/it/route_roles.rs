//! Every route × every role: who is let in is what the served document says, and a key of another tenant finds nothing behind any of them.

use std::fmt::Write;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::Client,
    running::{Running, wait_until},
    tenants::{AGENT, AGENTS, Tenant},
};

const ROLES: [&str; 5] = ["embed", "search", "read", "costs", "admin"];
/// In the content, metadata and names of what the first tenant has, and nowhere else.
const CANARY: &str = "canary-of-the-first";
const KEYS: &str = "/api/v1/admin/keys";
const BUDGETS: &str = "/api/v1/admin/budgets";

/// A route of the served document.
struct Route {
    verb: Method,
    path: String,
    /// Any of these is enough; `None`: no key is needed.
    scopes: Option<Vec<String>>,
}

impl Route {
    fn lets_in(&self, role: &str) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| role == "admin" || scopes.iter().any(|scope| scope == role))
    }

    /// The path with everything in braces replaced.
    fn path_with(&self, value: impl Fn(&str) -> String) -> String {
        let mut path = String::new();
        for part in self.path.split('/').skip(1) {
            let parameter = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            path.push('/');
            path.push_str(&parameter.map_or_else(|| part.to_owned(), &value));
        }
        path
    }

    async fn ask(&self, client: &Client, value: impl Fn(&str) -> String) -> (u16, Value) {
        let body = if self.verb == Method::GET { "" } else { "{}" };
        let answer = client.send(self.verb.clone(), &self.path_with(value), body).await;
        (answer.status, answer.body)
    }
}

async fn routes(running: &Running) -> Vec<Route> {
    let document: Value = running.agent().get("/openapi.json").await.ok();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (verb, operation) in operations.as_object().unwrap() {
            let scopes = operation["security"][0]["ApiKey"].as_array();
            let text = |scope: &Value| scope.as_str().unwrap().to_owned();
            routes.push(Route {
                verb: verb.to_uppercase().parse().unwrap(),
                path: path.clone(),
                scopes: scopes.map(|scopes| scopes.iter().map(text).collect()),
            });
        }
    }
    routes
}

/// A key of the first tenant with one scope.
async fn key_of(running: &Running, role: &str) -> Client {
    let made = running.admin().post(KEYS, json!({"name": role, "scopes": [role]})).await.ok();
    Client::new(&running.url, made["key"].as_str().unwrap())
}

#[tokio::test]
async fn every_route_lets_in_the_roles_that_it_documents_and_no_other() {
    let running = Running::one("").await;
    let mut clients = Vec::new();
    for role in ROLES {
        clients.push((role, key_of(&running, role).await));
    }
    // a change is in force when it is answered, on the gateway that answered
    let nobody = Client::new(&running.url, "none");
    let mut table = format!("{:8}{:62}{}  none\n", "", "", ROLES.map(|role| format!("{role:>8}")).concat());
    let mut wrong = Vec::new();
    let routes = routes(&running).await;
    assert!(routes.len() > 40, "{}", routes.len());
    for route in &routes {
        let absent = |_: &str| "absent".to_owned();
        let _ = write!(table, "{:8}{:62}", route.verb.as_str(), route.path);
        for (role, client) in &clients {
            let (status, body) = route.ask(client, absent).await;
            let _ = write!(table, "{status:>8}");
            if status == 401 || (status != 403) != route.lets_in(role) {
                wrong.push(format!("{} {} as {role}: {status} {body}", route.verb, route.path));
            }
        }
        let (status, body) = route.ask(&nobody, absent).await;
        let _ = writeln!(table, "{status:>6}");
        if (status == 401) != route.scopes.is_some() {
            wrong.push(format!("{} {} without a key: {status} {body}", route.verb, route.path));
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the first tenant has, and would miss.
struct Belongings {
    embedding: String,
    key: String,
    budget: String,
}

impl Belongings {
    async fn of(tenant: &Tenant) -> Self {
        let text = format!("{CANARY} in a text");
        let stored =
            json!({"agent_id": AGENT, "text": text, "metadata": {"note": CANARY}, "context_id": CANARY});
        let embedding = tenant.agent.post("/api/v1/embeddings", stored).await.ok();
        let agent = json!({"metadata": {"note": CANARY}, "embedding_strategy": "quality"});
        tenant.admin.put(&format!("{AGENTS}/{AGENT}"), agent).await.ok();
        let key = tenant.admin.post(KEYS, json!({"name": CANARY})).await.ok();
        let budget = json!({"scope": "agent", "subject": CANARY, "period": "day", "limit_usd": 5});
        let budget = tenant.admin.post(BUDGETS, budget).await.ok();
        let id = |made: &Value, field: &str| made[field].as_str().unwrap().to_owned();
        Self { embedding: id(&embedding, "embedding_id"), key: id(&key, "id"), budget: id(&budget, "id") }
    }

    /// What stands in a path for the parameter of this name.
    fn named(&self, path: &str, parameter: &str) -> String {
        match parameter {
            "embedding_id" => self.embedding.clone(),
            "agent_id" => AGENT.to_owned(),
            "id" if path.starts_with(KEYS) => self.key.clone(),
            "id" if path.starts_with(BUDGETS) => self.budget.clone(),
            _ => "absent".to_owned(),
        }
    }

    async fn all_there(&self, tenant: &Tenant) {
        let row = tenant.agent.get(&format!("/api/v1/embeddings/{}", self.embedding)).await.ok();
        assert_eq!(row["metadata"]["note"], CANARY, "{row}");
        let agent = tenant.admin.get(&format!("{AGENTS}/{AGENT}")).await.ok();
        assert_eq!((&agent["version"], &agent["metadata"]["note"]), (&json!(1), &json!(CANARY)), "{agent}");
        let key = tenant.admin.get(&format!("{KEYS}/{}", self.key)).await.ok();
        assert!(key["revoked_at"].is_null() && key["expires_at"].is_null(), "{key}");
        let budget = tenant.admin.get(&format!("{BUDGETS}/{}", self.budget)).await.ok();
        assert_eq!((&budget["limit_usd"], &budget["version"]), (&json!(5), &json!(1)), "{budget}");
    }
}

#[tokio::test]
async fn a_key_of_another_tenant_finds_and_changes_nothing_behind_any_route() {
    let running = Running::one("").await;
    let (one, two) = (Tenant::first(&running), Tenant::second(&running).await);
    let belongings = Belongings::of(&one).await;
    // metrics are the operator's, who is let in by address: they tell of every tenant
    for route in routes(&running).await.iter().filter(|route| route.path != "/metrics") {
        for client in [&two.agent, &two.admin] {
            let (status, body) = route.ask(client, |name| belongings.named(&route.path, name)).await;
            let text = body.to_string();
            assert!(!text.contains(CANARY), "{} {}: {status} {text}", route.verb, route.path);
            assert!(!text.contains(&one.id), "{} {}: {status} {text}", route.verb, route.path);
        }
    }
    // the orders about breakers are everybody's
    one.admin.post("/api/v1/admin/circuit-breaker/reset", json!({})).await.ok();
    wait_until(|| async { one.agent.get("/api/v1/embeddings").await.status == 200 }).await;
    belongings.all_there(&one).await;
}
