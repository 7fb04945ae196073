//! How long a tenant's rows stay is set with the tenant and kept by the store, by itself.

use serde_json::json;

use crate::{providers::two_deployments, running::wait_until, tenants::Tenant};

#[tokio::test]
async fn rows_go_after_their_tenants_days_and_no_others() {
    let (_simulator, running) = two_deployments("store: {maintenance_seconds: 1}").await;
    let (one, two) = (Tenant::first(&running), Tenant::second(&running).await);
    for tenant in [&one, &two] {
        tenant.embed("an old text").await;
        tenant.embed("a new text").await;
    }
    // older than any clock lets a test wait for
    let sql = running.sql().await;
    let old =
        "UPDATE store.space_1 SET created_at = created_at - interval '10 days' WHERE content = 'an old text'";
    sql.batch_execute(&format!("SELECT store.add_partitions(1, now() - interval '10 days'); {old}"))
        .await
        .unwrap();

    let path = format!("/api/v1/admin/tenants/{}", two.id);
    let admin = running.admin();
    assert!(
        admin
            .put(&path, json!({"retention_days": 0}))
            .await
            .refused(400, "invalid_request")
            .contains("retention_days")
    );
    let told = admin.put(&path, json!({"retention_days": 7})).await.ok();
    assert_eq!(told["retention_days"], 7);
    let contents = async |tenant: &Tenant| -> Vec<String> {
        let rows = tenant.agent.get("/api/v1/embeddings").await.ok();
        let mut contents: Vec<String> = rows["embeddings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["content"].as_str().unwrap().to_owned())
            .collect();
        contents.sort();
        contents
    };
    wait_until(|| async { contents(&two).await == ["a new text"] }).await;
    assert_eq!(contents(&one).await, ["a new text", "an old text"]);
    // the tenant's own people see in their chain that it was set
    let audit = two.admin.get("/api/v1/admin/audit").await.ok().to_string();
    assert!(audit.contains("tenant.update") && audit.contains("retention_days"), "{audit}");
    let told = admin.put(&path, json!({"clear": ["retention_days"]})).await.ok();
    assert!(told.get("retention_days").is_none_or(serde_json::Value::is_null), "{told}");
}
