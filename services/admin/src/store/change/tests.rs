use embermesh_postgres::{Database, PoolConfig, Role, Schema, migrate};
use embermesh_private_postgres::TestDatabase;
use serde_json::json;

use super::*;
use crate::{
    domain::anchor::Seal,
    store::{MIGRATIONS, Store},
};

const TENANT: TenantId = TenantId::SYSTEM;

async fn store() -> (TestDatabase, Store) {
    let database = TestDatabase::create().await;
    migrate(database.url(), Schema::Admin, &MIGRATIONS).await.unwrap();
    let limits = PoolConfig::default();
    let store = Database::connect(database.url(), Schema::Admin, Role::App, &limits).await.unwrap();
    (database, Store::new(store))
}

async fn read(store: &Store, batch: i64) -> Vec<Stored> {
    let mut reading = store.read_chain(TENANT, batch).await.unwrap();
    let mut records = Vec::new();
    while let Some((more, _)) = reading.next().await.unwrap() {
        records.extend(more);
    }
    records
}

fn entry(subject: &str, details: Value) -> OwnRecord<'_> {
    OwnRecord { tenant: TENANT, at: SystemTime::UNIX_EPOCH, action: "a.test", subject, details }
}

#[tokio::test]
async fn a_change_without_a_record_is_not_made() {
    let (_database, store) = store().await;
    let before = store.version().await.unwrap();
    let silent = Change::begin(store.tenant(TENANT)).await.unwrap();
    silent.touch(Section::Catalog, None, &["m"]).await.unwrap();
    assert!(matches!(silent.commit().await, Err(DbError::Protocol(_))));
    let wordless = Change::begin(store.tenant(TENANT)).await.unwrap();
    assert!(matches!(wordless.record_own(&entry("x", json!("text"))).await, Err(DbError::Protocol(_))));
    drop(wordless);
    assert_eq!(store.version().await.unwrap(), before);

    let told = Change::begin(store.tenant(TENANT)).await.unwrap();
    told.record_own(&entry("x", json!({}))).await.unwrap();
    assert_eq!(told.commit().await.unwrap(), before + 1);
}

#[tokio::test]
async fn records_of_one_change_and_of_the_next_are_one_chain() {
    let (_database, store) = store().await;
    for subjects in [&["a", "b"][..], &["c"]] {
        let change = Change::begin(store.tenant(TENANT)).await.unwrap();
        for subject in subjects {
            change.record_own(&entry(subject, json!({}))).await.unwrap();
        }
        change.commit().await.unwrap();
    }
    let records = read(&store, 100).await;
    let numbers: Vec<_> = records.iter().map(|kept| (kept.record.number, &*kept.record.subject)).collect();
    assert_eq!(numbers, [(1, "a"), (2, "b"), (3, "c")]);
    assert_eq!(records[0].previous, Some(BEGINNING));
    assert_eq!((records[1].previous, records[2].previous), (records[0].hash, records[1].hash));
}

#[tokio::test]
async fn a_chain_is_read_whole_whatever_the_batches() {
    let (_database, store) = store().await;
    let change = Change::begin(store.tenant(TENANT)).await.unwrap();
    for n in 0..9 {
        change.record_own(&entry(&n.to_string(), json!({"n": n}))).await.unwrap();
    }
    change.commit().await.unwrap();
    let (seal, _) = Seal::generate().unwrap();
    let whole = read(&store, 100).await;
    for at in [0, 2, 3, 8] {
        let Stored { record, hash, .. } = &whole[at];
        let anchor = seal.sign(TENANT, record.number, hash.unwrap(), 5).unwrap();
        assert!(store.keep_anchor(&anchor).await.unwrap());
        assert!(!store.keep_anchor(&anchor).await.unwrap(), "it is there");
    }
    let beyond = seal.sign(TENANT, 12, BEGINNING, 5).unwrap();
    store.keep_anchor(&beyond).await.unwrap();
    for batch in [1, 2, 3, 4, 9, 10] {
        assert_eq!(read(&store, batch).await, whole);
        let mut reading = store.read_chain(TENANT, batch).await.unwrap();
        let mut places = Vec::new();
        while let Some((records, anchors)) = reading.next().await.unwrap() {
            let last = records.last().unwrap().record.number;
            assert!(anchors.iter().all(|anchor| anchor.number <= last && anchor.number > last - batch));
            places.extend(anchors.iter().map(|anchor| anchor.number));
        }
        assert_eq!(places, [1, 3, 4, 9]);
        assert_eq!(reading.beyond().await.unwrap(), std::slice::from_ref(&beyond));
    }
}

#[tokio::test]
async fn a_record_of_another_tenant_than_the_sessions_is_refused() {
    let (_database, store) = store().await;
    let others = TenantId::new(uuid::Uuid::from_u128(7));
    let change = Change::begin(store.tenant(others)).await.unwrap();
    change.record_own(&entry("x", json!({}))).await.unwrap();
    assert!(matches!(change.commit().await, Err(DbError::Denied(_))));
}
