//! Every process says what it is busy with, to the operator alone.

use serde_json::Value;

use crate::running::{Running, SERVICES};

const TASKS: &str = "/api/v1/admin/debug/tasks";
const PROFILE: &str = "/api/v1/admin/debug/profile";

fn names(tasks: &Value) -> Vec<&str> {
    tasks.as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_service_is_asked_by_its_name_and_answers_for_itself() {
    let running = Running::five("").await;
    let admin = running.admin();
    // tasks that only one of them has
    let (of_router, of_ledger) = ("journal", "ledger sweeper");
    let mut seen = Vec::new();
    for service in SERVICES {
        let dump = admin.get(&format!("{TASKS}?service={service}")).await.ok();
        assert_eq!(dump["service"], service);
        let tasks = names(&dump["tasks"]);
        assert!(dump["count"].as_u64().unwrap() >= tasks.len() as u64 && tasks.contains(&"accept"), "{dump}");
        seen.push(tasks.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>());
        let profile = admin.get(&format!("{PROFILE}?service={service}&seconds=1")).await.ok();
        assert_eq!(profile["service"], service);
        assert!(profile["took_ms"].as_u64().unwrap() >= 1_000, "{profile}");
    }
    println!("{seen:?}");
    assert!(
        seen[1].iter().any(|name| name == of_router) && seen[2].iter().any(|name| name == of_ledger),
        "{seen:?}"
    );
    assert!(!seen[0].iter().any(|name| name == of_router || name == of_ledger), "{seen:?}");
    // the gateway unless somebody else is named; and it is at work, with this question at the least
    let dump = admin.get(TASKS).await.ok();
    assert_eq!(dump["service"], "gateway");
    let busy = admin.get(&format!("{PROFILE}?seconds=1")).await.ok();
    assert!(!busy["tasks"].as_array().unwrap().is_empty(), "{busy}");

    admin.get(&format!("{TASKS}?service=nobody")).await.refused(400, "invalid_request");
    admin.get(&format!("{PROFILE}?seconds=0")).await.refused(400, "invalid_request");
    admin.get(&format!("{PROFILE}?seconds=3600")).await.refused(400, "invalid_request");
    running.agent().get(TASKS).await.refused(403, "forbidden");
    let other = crate::tenants::Tenant::second(&running).await;
    other.admin.get(PROFILE).await.refused(403, "forbidden");
}
