use embermesh_proto::v1::Price;

use super::*;

type Spoil = fn(&mut CatalogModel);

fn model() -> CatalogModel {
    CatalogModel {
        id: "acme-2".to_owned(),
        family: "acme/embed-2".to_owned(),
        native_dimensions: 8,
        allowed_dimensions: vec![4, 2],
        max_input_tokens: 512,
        max_batch: 64,
        tokenizer: "bytes".to_owned(),
        max_batch_tokens: 512,
        provider_kinds: vec!["openai".to_owned(), "voyage".to_owned()],
        provider_names: [("voyage".to_owned(), "acme-two".to_owned())].into(),
        matryoshka: true,
        normalized: true,
        quality: Some(100.0),
        quality_source: "a leaderboard".to_owned(),
        modality: "multimodal".to_owned(),
        prices: vec![
            Price { per_million_tokens_nano_usd: Some(0), ..Price::default() },
            Price {
                per_million_tokens_nano_usd: Some(7),
                provider: "voyage".to_owned(),
                unit: "characters".to_owned(),
                ..Price::default()
            },
        ],
        ..CatalogModel::default()
    }
}

#[test]
fn every_refusal_names_its_field() {
    check(&model()).unwrap();
    let cases: [(&str, Spoil); 28] = [
        ("id", |m| m.id = "a b".to_owned()),
        ("id", |m| m.id = "auto".to_owned()),
        ("family", |m| m.family.clear()),
        ("revision", |m| m.revision = " ".to_owned()),
        ("native_dimensions", |m| m.native_dimensions = 0),
        ("allowed_dimensions", |m| m.allowed_dimensions = vec![9]),
        ("allowed_dimensions", |m| m.any_dimensions = true),
        ("max_input_tokens", |m| m.max_input_tokens = 0),
        ("max_batch", |m| m.max_batch = 2049),
        ("tokenizer", |m| m.tokenizer.clear()),
        ("provider_kinds[0]", |m| m.provider_kinds[0] = "acme".to_owned()),
        ("max_batch_tokens", |m| m.max_batch_tokens = 511),
        ("max_batch_tokens", |m| m.max_batch_tokens = 1_000_000_001),
        ("matryoshka", |m| m.allowed_dimensions.clear()),
        ("provider_kinds", |m| m.provider_kinds.clear()),
        ("provider_names", |m| drop(m.provider_names.insert("bedrock".to_owned(), "acme.v2".to_owned()))),
        ("provider_names.openai", |m| drop(m.provider_names.insert("openai".to_owned(), String::new()))),
        ("quality", |m| m.quality = Some(100.1)),
        ("quality", |m| m.quality = Some(f64::NAN)),
        ("quality_source", |m| m.quality = None),
        ("quality_source", |m| m.quality_source = "two\nlines".to_owned()),
        ("modality", |m| m.modality = "sound".to_owned()),
        ("prices", |m| m.prices.clear()),
        ("prices", |m| m.prices[0].provider = "east".to_owned()),
        ("prices[1].unit", |m| m.prices[1].unit = "words".to_owned()),
        ("prices[1].provider", |m| m.prices[1].provider = "a\0".to_owned()),
        ("prices[0].per_million_tokens_usd", |m| m.prices[0].per_million_tokens_nano_usd = Some(-1)),
        ("prices[0].per_million_tokens_usd", |m| m.prices[0] = Price::default()),
    ];
    for (param, spoil) in cases {
        let mut model = model();
        spoil(&mut model);
        assert_eq!(check(&model).unwrap_err().param.as_deref(), Some(param));
    }
}

#[test]
fn the_shipped_catalog_passes_its_own_rules() {
    for model in crate::store::shipped::seed().unwrap() {
        check(&model).unwrap();
        assert!(model.quality.is_none() || !model.quality_source.is_empty());
        assert!(model.prices.iter().all(|p| p.effective_from.is_some() && !p.source.is_empty()));
    }
}

#[test]
fn what_is_left_out_is_written_out() {
    let bare = |mut model: CatalogModel| {
        model.modality.clear();
        model.quality_source.clear();
        model.prices[0].unit.clear();
        model
    };
    let full = completed(bare(model()));
    assert_eq!((full.modality.as_str(), full.quality_source.as_str()), ("text", BY_OPERATOR));
    assert_eq!((full.prices[0].unit.as_str(), full.prices[1].unit.as_str()), ("tokens", "characters"));
    assert_eq!(full.prices[0].source, BY_OPERATOR);
    assert_eq!(completed(full.clone()), full);
}
