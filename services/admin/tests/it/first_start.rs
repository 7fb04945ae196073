use std::{fs, os::unix::fs::PermissionsExt};

use embermesh_admin::{FirstKeys, FirstStart, FirstStartError, Settings};
use embermesh_private_postgres::TestDatabase;
use embermesh_proto::v1::ListKeysRequest;
use embermesh_types::ManualClock;

use crate::world::{NOON, Replica, START, context};

const URL: &str = "http://127.0.0.1:8081";

async fn replica(database: &TestDatabase) -> Replica {
    Replica::start(database, &ManualClock::new(START + NOON), Settings::default()).await
}

fn created(first: FirstStart) -> FirstKeys {
    match first {
        FirstStart::Created(keys) => keys,
        FirstStart::Existing => panic!("nothing was created"),
    }
}

#[tokio::test]
async fn the_first_start_makes_keys_and_the_second_none() {
    let (database, directory) = (TestDatabase::create().await, tempfile::tempdir().unwrap());
    let file = directory.path().join("keys.json");
    let mut replica = replica(&database).await;
    let keys = created(replica.service.ensure_first_keys(URL, &file).await.unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["url"], URL);
    assert_eq!(json["tenant_id"], keys.tenant.to_string());
    assert_eq!(json["admin_key"], keys.admin.reveal());
    assert_eq!(json["agent_key"], keys.agent.reveal());
    assert!(matches!(replica.service.ensure_first_keys(URL, &file).await.unwrap(), FirstStart::Existing));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);

    let admin = context(keys.tenant, None, &["admin"]);
    let listed =
        replica.keys.list_keys(admin.request(ListKeysRequest::default())).await.unwrap().into_inner().keys;
    let mut scopes: Vec<String> = listed.iter().map(|key| key.scopes.join(",")).collect();
    scopes.sort();
    assert_eq!(scopes, ["admin", "embed,search,read"]);
    assert!(listed.iter().all(|key| key.agent_id.is_none()));
}

#[tokio::test]
async fn keys_written_before_a_crash_are_the_ones_that_the_next_start_puts_in() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    // a database that was never committed to is an empty one
    let lost = TestDatabase::create().await;
    let before = created(replica(&lost).await.service.ensure_first_keys(URL, &file).await.unwrap());
    fs::write(directory.path().join("keys.json.new"), "torn").unwrap();

    let database = TestDatabase::create().await;
    let mut replica = replica(&database).await;
    let after = created(replica.service.ensure_first_keys("http://127.0.0.1:9999", &file).await.unwrap());
    assert_eq!(after.tenant, before.tenant);
    assert_eq!(after.admin.reveal(), before.admin.reveal());
    assert_eq!(after.agent.reveal(), before.agent.reveal());
    assert!(fs::read_to_string(&file).unwrap().contains("http://127.0.0.1:9999"));
    let admin = context(after.tenant, None, &["admin"]);
    let listed =
        replica.keys.list_keys(admin.request(ListKeysRequest::default())).await.unwrap().into_inner().keys;
    assert!(listed.iter().any(|key| key.id == before.admin.id().as_str()));
}

#[tokio::test]
async fn a_file_of_something_else_is_never_overwritten() {
    let (database, directory) = (TestDatabase::create().await, tempfile::tempdir().unwrap());
    let file = directory.path().join("keys.json");
    fs::write(&file, "{\"precious\": true}").unwrap();
    let replica = replica(&database).await;
    let error = replica.service.ensure_first_keys(URL, &file).await.unwrap_err();
    assert!(matches!(error, FirstStartError::Unreadable(_)), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"precious\": true}");
    let missing = directory.path().join("missing").join("keys.json");
    assert!(matches!(
        replica.service.ensure_first_keys(URL, &missing).await.unwrap_err(),
        FirstStartError::File { .. }
    ));
    // nothing of that reached the database
    created(replica.service.ensure_first_keys(URL, &directory.path().join("good.json")).await.unwrap());
}

#[tokio::test]
async fn of_several_replicas_one_makes_the_keys() {
    let (database, directory) = (TestDatabase::create().await, tempfile::tempdir().unwrap());
    let mut starts = tokio::task::JoinSet::new();
    for n in 0..4 {
        let service = replica(&database).await.service;
        let file = directory.path().join(format!("keys-{n}.json"));
        starts.spawn(async move { (service.ensure_first_keys(URL, &file).await.unwrap(), file.exists()) });
    }
    let outcomes = starts.join_all().await;
    let made = outcomes.iter().filter(|(first, _)| matches!(first, FirstStart::Created(_))).count();
    let files = outcomes.iter().filter(|(_, file)| *file).count();
    assert_eq!((made, files), (1, 1));
}
