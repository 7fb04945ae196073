//! A tenant's own policy about personal data: in force at the next text, for that tenant alone, and told apart in what is stored.

use serde_json::{Value, json};

use crate::{
    client::Client,
    running::{Running, wait_until},
    simulated::{QUIET, SMALL, entry, openai, yaml},
    tenants::{AGENTS, Tenant},
};

const POLICY: &str = "/api/v1/admin/policies/pii";
const EMBED: &str = "/api/v1/embeddings";
const TEXT: &str = "badge B-12345, mail jane.roe@example.com";

async fn content(client: &Client, made: &Value) -> String {
    let id = made["embedding_id"].as_str().unwrap();
    client.get(&format!("{EMBED}/{id}")).await.ok()["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_policy_stands_between_the_installations_and_the_agents() {
    let simulator = openai(&["a-one"]).await;
    let entries = [entry(&simulator.deployments()[0], &[SMALL], "")];
    let file = "pii_detection: {patterns: [{staff: 'S-[0-9]{3}'}]}\nadmin: {pii_entities: [staff]}\n";
    let running = Running::one(&format!("{}{file}", yaml(&entries, &[QUIET]))).await;
    let (one, two) = (Tenant::first(&running), Tenant::second(&running).await);
    let embed = |tenant: &Tenant, agent: &str, text: &str| {
        let (client, body) = (tenant.agent.clone(), json!({"agent_id": agent, "text": text}));
        async move { client.post(EMBED, body).await }
    };
    let before = embed(&one, "a", TEXT).await.ok();
    assert_eq!(content(&one.agent, &before).await, "badge B-12345, mail [EMAIL]");

    let policy = json!({"patterns": [{"badge": "B-[0-9]{5}"}], "actions": {"email": "detect"}});
    let put = one.admin.put(POLICY, policy.clone()).await.ok();
    assert_eq!(
        (&put["version"], &put["action"], &put["patterns"]),
        (&json!(1), &json!("redact"), &policy["patterns"])
    );
    // in force where it was put, at once
    let after = embed(&one, "a", TEXT).await.ok();
    assert_eq!(content(&one.agent, &after).await, "badge [BADGE], mail jane.roe@example.com");
    let version = |made: &Value| made["pii"]["policy_version"].as_str().unwrap().to_owned();
    assert_ne!(version(&before), version(&after));
    let staff = embed(&one, "a", "of S-123").await.ok();
    assert_eq!(content(&one.agent, &staff).await, "of [STAFF]", "the installation's patterns are known too");
    // an agent's own settings stand over it, and may name its entities
    let own = json!({"pii": {"action": "reject", "entities": ["badge"]}});
    one.admin.put(&format!("{AGENTS}/strict"), own).await.ok();
    embed(&one, "strict", TEXT).await.refused(422, "pii_rejected");
    embed(&one, "strict", "mail jane.roe@example.com").await.ok();
    // nobody else's
    let theirs = embed(&two, "a", TEXT).await.ok();
    assert_eq!(content(&two.agent, &theirs).await, "badge B-12345, mail [EMAIL]");
    assert_eq!(version(&theirs), version(&before));
    two.admin.get(POLICY).await.refused(404, "not_found");

    // what cannot be enforced, or can be slow, is refused in words and leaves what there is
    for (bad, says) in [
        (json!({"patterns": [{"badge": "B-("}]}), "unclosed group"),
        (json!({"patterns": [{"badge": "[A-Z].*z|[A-Z]"}]}), "without end"),
        (json!({"patterns": [{"badge": "a"}, {"badge": "x", "other": "y"}]}), "one entry"),
        (json!({"entities": ["iban"]}), "iban"),
        (json!({"entities": []}), "empty"),
        (json!({"action": "mask"}), "mask"),
    ] {
        let refusal = one.admin.put(POLICY, bad.clone()).await;
        assert!(refusal.refused(400, "invalid_request").contains(says), "{bad}: {}", refusal.body);
    }
    let gone = one.admin.delete(POLICY).await;
    assert!(gone.refused(409, "conflict").contains("strict"), "{}", gone.body);
    assert_eq!(version(&embed(&one, "a", "again B-12345").await.ok()), version(&after));
    one.admin.delete(&format!("{AGENTS}/strict")).await.ok();
    one.admin.delete(POLICY).await.ok();
    assert_eq!(version(&embed(&one, "a", "back again").await.ok()), version(&before));
    for record in ["policy.put", "policy.delete"] {
        let listed = one.admin.get(&format!("/api/v1/admin/audit?action={record}")).await.ok();
        assert_eq!(listed["records"].as_array().unwrap().len(), 1, "{listed}");
    }
}

#[tokio::test]
async fn a_policy_reaches_every_gateway_and_outlives_admin() {
    let simulator = openai(&["a-one"]).await;
    let entries = [entry(&simulator.deployments()[0], &[SMALL], "")];
    let mut running = Running::five(&yaml(&entries, &[QUIET])).await;
    let other = Client::new(&running.another_gateway().await, running.keys["agent_key"].as_str().unwrap());
    running.admin().put(POLICY, json!({"action": "reject"})).await.ok();
    let text = json!({"agent_id": "a", "text": TEXT, "store": false});
    wait_until(|| async { other.post(EMBED, text.clone()).await.status == 422 }).await;
    running.agent().post(EMBED, text.clone()).await.refused(422, "pii_rejected");
    // the copy follows the stream at its own pace
    let copy = running.dir.with_file_name("gateway").join("gateway.snapshot");
    let holds = || std::fs::read(&copy).unwrap_or_default().windows(6).any(|window| window == b"reject");
    wait_until(|| async { holds() }).await;
    running.process("admin").kill();
    running.start_again("gateway").await;
    running.agent().post(EMBED, text).await.refused(422, "pii_rejected");
}
