use embermesh_admin::Settings;
use embermesh_errors::Code;
use embermesh_proto::v1::{AddPriceRequest, CatalogModel, GetCatalogModelRequest, ListCatalogRequest, Price};

use crate::world::{Replica, World, context, refused, shipped};

fn acme() -> CatalogModel {
    CatalogModel {
        id: "acme/embed-2".to_owned(),
        family: "acme/embed-2".to_owned(),
        revision: "r1".to_owned(),
        native_dimensions: 8,
        allowed_dimensions: vec![4, 2],
        max_input_tokens: 512,
        max_batch: 64,
        tokenizer: "bytes".to_owned(),
        distinguishes_input_type: true,
        provider_kinds: vec!["openai".to_owned(), "vertex".to_owned()],
        max_batch_tokens: 20_000,
        provider_names: [("vertex".to_owned(), "publishers/acme/embed-2".to_owned())].into(),
        matryoshka: true,
        normalized: true,
        quality: Some(61.7),
        quality_source: "a leaderboard".to_owned(),
        modality: "multimodal".to_owned(),
        prices: vec![Price { per_million_tokens_nano_usd: Some(5), ..Price::default() }],
        ..CatalogModel::default()
    }
}

fn price(nanos: i64, seconds: Option<i64>) -> AddPriceRequest {
    AddPriceRequest {
        id: "acme/embed-2".to_owned(),
        per_million_tokens_nano_usd: Some(nanos),
        effective_from: seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
        source: "price list".to_owned(),
        provider: None,
        unit: None,
    }
}

#[tokio::test]
async fn the_shipped_models_are_there_and_what_operators_add_outlives_a_restart() {
    let mut world = World::new().await;
    let admin = world.admin();
    let small = GetCatalogModelRequest { id: "text-embedding-3-small".to_owned() };
    let small = world.replica.catalog.get_catalog_model(admin.request(small)).await.unwrap().into_inner();
    assert_eq!((small.native_dimensions, small.any_dimensions, small.max_input_tokens), (1536, true, 8191));
    assert_eq!(small.prices[0].per_million_tokens_nano_usd, Some(20_000_000));

    let own = AddPriceRequest { id: small.id.clone(), ..price(30_000_000, None) };
    let changed = world.replica.catalog.add_price(admin.request(own)).await.unwrap().into_inner();
    assert_eq!(changed.prices.len(), small.prices.len() + 1);
    assert!(small.prices.iter().all(|price| changed.prices.contains(price)));
    world.replica.tasks.stop();
    let mut restarted = Replica::start(&world.database, &world.clock, Settings::default()).await;
    let list = restarted
        .catalog
        .list_catalog(admin.request(ListCatalogRequest::default()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.models.len(), shipped().len());
    assert!(list.models.contains(&changed));
}

#[tokio::test]
async fn models_and_prices_are_added_once() {
    let mut world = World::new().await;
    let admin = world.admin();
    let made = world.replica.catalog.create_catalog_model(admin.request(acme())).await.unwrap().into_inner();
    assert!(made.prices[0].effective_from.is_some());
    assert_eq!(CatalogModel { prices: acme().prices, ..made.clone() }, acme());
    let again = refused(world.replica.catalog.create_catalog_model(admin.request(acme())).await);
    assert_eq!((again.code, again.param.as_deref()), (Code::Conflict, Some("id")));

    let add = price(9, Some(1_900_000_000));
    let priced = world.replica.catalog.add_price(admin.request(add.clone())).await.unwrap().into_inner();
    assert_eq!(
        priced.prices.iter().filter_map(|p| p.per_million_tokens_nano_usd).collect::<Vec<_>>(),
        [5, 9]
    );
    assert_eq!((priced.prices[1].provider.as_str(), priced.prices[1].unit.as_str()), ("", "tokens"));
    // at the same time, but of one provider alone
    let vertex = AddPriceRequest {
        provider: Some("vertex".to_owned()),
        unit: Some("characters".to_owned()),
        ..price(2, Some(1_900_000_000))
    };
    let priced = world.replica.catalog.add_price(admin.request(vertex.clone())).await.unwrap().into_inner();
    let last = priced.prices.last().unwrap();
    assert_eq!((last.provider.as_str(), last.unit.as_str()), ("vertex", "characters"));
    let again = refused(world.replica.catalog.add_price(admin.request(vertex)).await);
    assert_eq!((again.code, again.param.as_deref()), (Code::Conflict, Some("effective_from")));
    let unit = AddPriceRequest { unit: Some("words".to_owned()), ..price(2, None) };
    assert_eq!(
        refused(world.replica.catalog.add_price(admin.request(unit)).await).param.as_deref(),
        Some("unit")
    );
    let again = refused(world.replica.catalog.add_price(admin.request(add)).await);
    assert_eq!((again.code, again.param.as_deref()), (Code::Conflict, Some("effective_from")));
    let negative = refused(world.replica.catalog.add_price(admin.request(price(-1, None))).await);
    assert_eq!(negative.param.as_deref(), Some("per_million_tokens_usd"));
    let absent = AddPriceRequest { per_million_tokens_nano_usd: None, ..price(0, None) };
    let absent = refused(world.replica.catalog.add_price(admin.request(absent)).await);
    assert_eq!((absent.code, absent.param.as_deref()), (Code::Invalid, Some("per_million_tokens_usd")));
    let unknown = AddPriceRequest { id: "nobody\0".to_owned(), ..price(1, None) };
    assert_eq!(refused(world.replica.catalog.add_price(admin.request(unknown)).await).code, Code::NotFound);
    let reader = context(world.first.tenant, None, &["read"]);
    let error = refused(world.replica.catalog.create_catalog_model(reader.request(acme())).await);
    assert_eq!(error.code, Code::Forbidden);
}
