use std::time::Duration;

use embermesh_postgres::{Database, PoolConfig, Role, Schema, migrate};
use embermesh_private_postgres::TestDatabase;
use embermesh_types::KeyId;

use super::*;
use crate::store::{MIGRATIONS, catalog::Added, change::Author};

const FIRST: Release = Release([1, 0, 0]);
const SECOND: Release = Release([1, 1, 0]);
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

async fn store() -> (TestDatabase, Store) {
    let database = TestDatabase::create().await;
    migrate(database.url(), Schema::Admin, &MIGRATIONS).await.unwrap();
    let store = connect(&database, Role::App).await;
    (database, Store::new(store))
}

async fn connect(database: &TestDatabase, role: Role) -> Database {
    Database::connect(database.url(), Schema::Admin, role, &PoolConfig::default()).await.unwrap()
}

fn price(nanos: i64, provider: &str, day: u64) -> Price {
    Price {
        per_million_tokens_nano_usd: Some(nanos),
        effective_from: Some((NOW + Duration::from_secs(day * 86_400)).into()),
        source: "price list".to_owned(),
        provider: provider.to_owned(),
        unit: "tokens".to_owned(),
    }
}

fn model() -> CatalogModel {
    completed(CatalogModel {
        id: "m".to_owned(),
        family: "acme/m".to_owned(),
        native_dimensions: 8,
        max_input_tokens: 512,
        max_batch: 16,
        tokenizer: "bytes".to_owned(),
        provider_kinds: vec!["openai".to_owned()],
        prices: vec![price(5, "", 1)],
        ..CatalogModel::default()
    })
}

/// What a later release has learnt of it.
fn better() -> CatalogModel {
    CatalogModel {
        any_dimensions: true,
        max_batch_tokens: 1024,
        provider_kinds: vec!["openai".to_owned(), "voyage".to_owned()],
        provider_names: [("voyage".to_owned(), "acme-m".to_owned())].into(),
        matryoshka: true,
        normalized: true,
        quality: Some(61.7),
        quality_source: "a leaderboard".to_owned(),
        prices: vec![price(5, "", 1), price(4, "", 9), price(3, "voyage", 9)],
        ..model()
    }
}

fn key() -> KeyId {
    "k3y".parse().unwrap()
}

fn operator(key: &KeyId) -> Author<'_> {
    Author { tenant: TenantId::new(uuid::Uuid::from_u128(7)), by: key, at: NOW }
}

async fn held(store: &Store) -> CatalogModel {
    store.model("m").await.unwrap().unwrap()
}

#[tokio::test]
async fn a_later_release_renews_a_model_once_and_an_earlier_one_leaves_it() {
    let (_database, store) = store().await;
    assert_eq!(store.ship(&[model()], FIRST, NOW).await.unwrap(), 1);
    assert_eq!(held(&store).await, model());
    let before = store.version().await.unwrap();
    assert_eq!(store.ship(&[model()], FIRST, NOW).await.unwrap(), 0);
    assert_eq!(store.version().await.unwrap(), before, "nothing to tell anybody");

    let sorted =
        CatalogModel { prices: vec![price(5, "", 1), price(4, "", 9), price(3, "voyage", 9)], ..better() };
    assert_eq!(store.ship(&[better()], SECOND, NOW).await.unwrap(), 1);
    assert_eq!(held(&store).await, sorted);
    let (_, told) = store.changes_after(before).await.unwrap().unwrap();
    assert_eq!(told.len(), 1);
    // a replica of the first release restarts, and one of the second
    assert_eq!(store.ship(&[model()], FIRST, NOW).await.unwrap(), 0);
    assert_eq!(store.ship(&[better()], SECOND, NOW).await.unwrap(), 0);
    assert_eq!(held(&store).await, sorted);
}

#[tokio::test]
async fn what_was_changed_in_the_database_stays_changed() {
    let (database, store) = store().await;
    store.ship(&[model()], FIRST, NOW).await.unwrap();
    let owner = connect(&database, Role::Owner).await;
    owner.system().execute("UPDATE models SET max_batch = 3 WHERE id = 'm'", &[]).await.unwrap();
    // a new price is no change of the model
    assert_eq!(store.ship(&[better()], SECOND, NOW).await.unwrap(), 1);
    assert_eq!(held(&store).await, CatalogModel { max_batch: 3, prices: better().prices, ..model() });
}

#[tokio::test]
async fn a_model_of_an_operator_is_left_alone_when_its_id_is_shipped_later() {
    let (_database, store) = store().await;
    let own = CatalogModel { family: "own/m".to_owned(), prices: vec![price(1, "openai", 1)], ..model() };
    assert!(matches!(store.create_model(&own, operator(&key())).await.unwrap(), Added::Model(_)));
    assert_eq!(store.ship(&[better()], SECOND, NOW).await.unwrap(), 0);
    assert_eq!(held(&store).await, own);
}

#[tokio::test]
async fn a_release_that_means_another_space_changes_nothing() {
    let (_database, store) = store().await;
    store.ship(&[model()], FIRST, NOW).await.unwrap();
    let moved = CatalogModel { revision: "2".to_owned(), ..better() };
    assert_eq!(store.ship(&[moved], SECOND, NOW).await.unwrap(), 0);
    assert_eq!(held(&store).await, model());
}

#[tokio::test]
async fn shipped_prices_stay_away_from_providers_that_an_operator_has_priced() {
    let (_database, store) = store().await;
    store.ship(&[model()], FIRST, NOW).await.unwrap();
    store.add_price("m", &price(2, "voyage", 2), operator(&key())).await.unwrap();
    store.ship(&[better()], SECOND, NOW).await.unwrap();
    assert_eq!(held(&store).await.prices, [price(5, "", 1), price(2, "voyage", 2), price(4, "", 9)]);
    // one for all providers is one for each of them
    store.add_price("m", &price(1, "", 10), operator(&key())).await.unwrap();
    let third = CatalogModel { prices: vec![price(8, "openai", 20), price(8, "", 20)], ..better() };
    assert_eq!(store.ship(&[third], Release([2, 0, 0]), NOW).await.unwrap(), 0);
}

#[tokio::test]
async fn a_database_of_the_first_schema_gets_what_this_release_knows() {
    let database = TestDatabase::create().await;
    migrate(database.url(), Schema::Admin, &MIGRATIONS[..1]).await.unwrap();
    // as its release filled it, with a price and a model of an operator's own since
    let owner = connect(&database, Role::Owner).await;
    for sql in [
        "INSERT INTO models VALUES ('text-embedding-3-small', 'openai/text-embedding-3-small', '', 1536, '{}', true, 8191, 2048,
            'cl100k_base', false, '{openai,azure_openai}', now())",
        "INSERT INTO models VALUES ('all-MiniLM-L6-v2', 'sentence-transformers/all-MiniLM-L6-v2', '', 384, '{}', false, 256, 2048,
            'wordpiece', false, '{local}', now())",
        "INSERT INTO models VALUES ('text-embedding-3-large', 'openai/text-embedding-3-large', '', 3072, '{}', true, 8191, 2048,
            'cl100k_base', false, '{openai,azure_openai}', now())",
        "INSERT INTO models VALUES ('text-embedding-ada-002', 'openai/text-embedding-ada-002', '', 1536, '{}', false, 8191, 2048,
            'cl100k_base', false, '{openai,azure_openai}', now())",
        "INSERT INTO models VALUES ('own', 'own/m', '', 8, '{4}', false, 256, 2, 'bytes', true, '{openai}', now())",
        "INSERT INTO prices VALUES ('text-embedding-3-small', '2024-01-25T00:00:00Z', 20000000, 'OpenAI', now())",
        "INSERT INTO prices VALUES ('text-embedding-3-small', '2025-01-01T00:00:00Z', 15000000, 'contract', now())",
        "INSERT INTO prices VALUES ('all-MiniLM-L6-v2', '2021-08-30T00:00:00Z', 0, 'runs here', now())",
        "INSERT INTO prices VALUES ('own', '2025-01-01T00:00:00Z', 7, 'contract', now())",
    ] {
        owner.system().execute(sql, &[]).await.unwrap();
    }
    migrate(database.url(), Schema::Admin, &MIGRATIONS).await.unwrap();
    let store = Store::new(connect(&database, Role::App).await);
    let own = store.model("own").await.unwrap().unwrap();
    assert_eq!(
        (own.modality.as_str(), own.prices[0].unit.as_str(), own.normalized),
        ("text", "tokens", false)
    );

    let mut news = seed().unwrap();
    for model in &mut news {
        model.quality = Some(50.5);
        model.quality_source = "a test".to_owned();
        model.prices.push(price(1, "openai", 20_000));
    }
    store.ship(&news, SECOND, NOW).await.unwrap();
    for shipped in &news {
        let held = store.model(&shipped.id).await.unwrap().unwrap();
        assert_eq!(crate::domain::shipped::form(&held), crate::domain::shipped::form(shipped));
    }
    let small = store.model("text-embedding-3-small").await.unwrap().unwrap();
    let sources: Vec<&str> = small.prices.iter().map(|price| price.source.as_str()).collect();
    assert_eq!(sources, ["OpenAI", "contract"], "the operator's price is the last word");
    let local = store.model("all-MiniLM-L6-v2").await.unwrap().unwrap();
    assert!(local.prices.contains(&price(1, "openai", 20_000)));
    assert_eq!(store.model("own").await.unwrap().unwrap(), own);
}
