use std::time::Duration;

use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    internal::v1::Section,
    v1::{AddPriceRequest, CatalogModel, Price},
};
use embermesh_transport::CallContext;

use crate::{
    subscriber::{subscribe, until},
    world::{NOON, World, refused},
};

const MODEL: &str = "text-embedding-3-small";

/// A price from so many seconds after the start on.
fn price(nanos: i64, after_noon: i64) -> AddPriceRequest {
    let noon = i64::try_from(NOON.as_secs()).unwrap();
    AddPriceRequest {
        id: MODEL.to_owned(),
        per_million_tokens_nano_usd: Some(nanos),
        effective_from: Some(prost_types::Timestamp { seconds: noon + after_noon, nanos: 0 }),
        ..AddPriceRequest::default()
    }
}

async fn add(world: &mut World, by: &CallContext, request: AddPriceRequest) -> CatalogModel {
    world.replica.catalog.add_price(by.request(request)).await.unwrap().into_inner()
}

fn of<'a>(model: &'a CatalogModel, provider: &'a str) -> impl Iterator<Item = &'a Price> {
    model.prices.iter().filter(move |price| price.provider == provider)
}

fn amounts(model: &CatalogModel, provider: &str) -> Vec<i64> {
    of(model, provider).filter_map(|price| price.per_million_tokens_nano_usd).collect()
}

#[tokio::test]
async fn a_price_begins_now_or_later_for_what_was_charged_stays() {
    let mut world = World::new().await;
    let admin = world.admin();
    let error = refused(world.replica.catalog.add_price(admin.request(price(1, -1))).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("effective_from")), "{error}");
    add(&mut world, &admin, price(1, 0)).await;
    add(&mut world, &admin, price(2, 3600)).await;
    world.clock.advance(Duration::from_secs(3601));
    let error = refused(world.replica.catalog.add_price(admin.request(price(3, 3600))).await);
    assert_eq!(error.param.as_deref(), Some("effective_from"), "a price that has begun is replaced");
    // a new model has charged nothing yet
    let model = CatalogModel {
        id: "acme/new".to_owned(),
        family: "acme/new".to_owned(),
        native_dimensions: 8,
        max_input_tokens: 512,
        max_batch: 8,
        tokenizer: "bytes".to_owned(),
        provider_kinds: vec!["openai".to_owned()],
        prices: vec![Price {
            per_million_tokens_nano_usd: Some(1),
            effective_from: Some(prost_types::Timestamp { seconds: 1_000_000_000, nanos: 0 }),
            ..Price::default()
        }],
        ..CatalogModel::default()
    };
    world.replica.catalog.create_catalog_model(admin.request(model)).await.unwrap();
}

#[tokio::test]
async fn a_mistake_is_corrected_by_a_later_price_and_both_stay_in_the_table() {
    let mut world = World::new().await;
    let admin = world.admin();
    let mistaken = add(&mut world, &admin, price(200_000_000, 3600)).await;
    let at_once = refused(world.replica.catalog.add_price(admin.request(price(22_000_000, 3600))).await);
    assert_eq!((at_once.code, at_once.param.as_deref()), (Code::Conflict, Some("effective_from")));
    let corrected = add(&mut world, &admin, price(22_000_000, 3601)).await;
    assert!(mistaken.prices.iter().all(|price| corrected.prices.contains(price)), "a price was changed");
    assert_eq!(amounts(&corrected, "")[..], [20_000_000, 200_000_000, 22_000_000]);
}

#[tokio::test]
async fn a_new_price_reaches_routers_with_its_provider_its_unit_and_its_time() {
    let mut world = World::new().await;
    let admin = world.admin();
    let tasks = Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::Catalog], &tasks);
    until(&subscription, "the catalog", |s| s.model(MODEL).is_some()).await;
    let own = AddPriceRequest {
        provider: Some("azure-east".to_owned()),
        unit: Some("characters".to_owned()),
        source: "contract 7".to_owned(),
        ..price(3, 60)
    };
    let made = add(&mut world, &admin, own).await;
    until(&subscription, "a price of one entry", |s| s.model(MODEL).is_some_and(|model| **model == made))
        .await;
    let streamed = subscription.current().model(MODEL).cloned().unwrap();
    let [price] = of(&streamed, "azure-east").collect::<Vec<_>>()[..] else { panic!("{streamed:?}") };
    assert_eq!((price.unit.as_str(), price.source.as_str()), ("characters", "contract 7"));
    assert_eq!(price.effective_from.unwrap().seconds, i64::try_from(NOON.as_secs()).unwrap() + 60);
    assert_eq!(amounts(&streamed, ""), [20_000_000], "everybody else's price stays");
}
